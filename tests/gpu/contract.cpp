// The program device_memory_test, on the driver of this machine and on the fake one: what passes there must pass here.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <vector>

#include "runtime/core/deadline.h"
#include "runtime/core/fd.h"
#include "runtime/core/file.h"
#include "runtime/process/process.h"
#include "tests/gpu/cases.h"

namespace hogpen::gpu_suite {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::seconds kPatience{90};

/// Owns: the directory, with what is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "hogpen-gpu-suite-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw SystemError("mkdtemp of " + pattern, errno);
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

using Results = std::map<std::string, Verdict>;

Results read_results(const fs::path& file) {
  Results results;
  const json all = json::parse(read_file(file));
  for (const json& suite : all.at("testsuites")) {
    for (const json& test : suite.at("testsuite")) {
      const bool has_failed = test.contains("failures");
      const bool is_skipped = test.at("result") == "SKIPPED";
      results[suite.at("name").get<std::string>() + "." + test.at("name").get<std::string>()] =
          has_failed   ? Verdict::failed
          : is_skipped ? Verdict::skipped
                       : Verdict::passed;
    }
  }
  return results;
}

void search_libraries_first_in(const std::string& directory) {
  const char* const before = ::getenv("LD_LIBRARY_PATH");
  const std::string path = before ? directory + ":" + before : directory;
  ::setenv("LD_LIBRARY_PATH", path.c_str(), 1);
}

/// `fakes` empty: on the driver of this machine.
Results run_contract(const std::string& program, const std::string& fakes) {
  const TemporaryDirectory directory;
  const fs::path file = directory.path() / "results.json";
  Process process = Process::start(
      [&] {
        if (!fakes.empty()) {
          search_libraries_first_in(fakes);
          ::setenv("FAKE_GPUS", "2", 1);
        }
        const std::string option = "--gtest_output=json:" + file.string();
        const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
        ::dup2(nothing.get(), STDOUT_FILENO);
        ::dup2(nothing.get(), STDERR_FILENO);
        ::setpgid(0, 0);  // with the children that it forks
        ::execl(program.c_str(), program.c_str(), option.c_str(), nullptr);
        throw SystemError("execl of " + program, errno);
      },
      {.name = "contract"});
  const auto exit = process.wait(Deadline::after(kPatience));
  if (!exit) {
    ::kill(-process.pid(), SIGKILL);
    throw TimeoutError(fmt::format("{} took more than {} s", program, kPatience.count()));
  }
  if (!fs::exists(file)) throw Error(fmt::format("{} has left no results", program));
  return read_results(file);
}

std::vector<std::string> names_of(const Results& results, Verdict verdict) {
  std::vector<std::string> names;
  for (const auto& [name, its] : results) {
    if (its == verdict) names.push_back(name);
  }
  return names;
}

}  // namespace

void contract(Trial& trial) {
  const std::string& program = trial.options().contract;
  const std::string& fakes = trial.options().fakes;
  if (!fs::exists(program)) throw Skipped(fmt::format("there is no {}", program));
  const Results here = run_contract(program, "");
  trial.number("passed", names_of(here, Verdict::passed).size());
  trial.number("skipped", names_of(here, Verdict::skipped));
  const auto failed = names_of(here, Verdict::failed);
  trial.number("failed", failed);
  check(failed.empty(), "{} of {} cases failed, the first is {}", failed.size(), here.size(), failed.front());
  check(!names_of(here, Verdict::passed).empty(), "no case has passed");
  if (!fs::exists(fs::path(fakes) / "libcuda.so.1")) throw Skipped(fmt::format("there is no fake driver in {}", fakes));
  const Results on_fake = run_contract(program, fakes);
  trial.number("passed_on_the_fake", names_of(on_fake, Verdict::passed).size());
  for (const auto& [name, verdict] : on_fake) {
    check(verdict != Verdict::failed, "{} fails on the fake driver", name);
    check(here.contains(name), "{} ran on the fake driver alone", name);
  }
}

}  // namespace hogpen::gpu_suite
