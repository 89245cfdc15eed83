// gpu_suite: what the tests of the tree cannot show without a GPU, as cases that may be run alone.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/segment.h"
#include "runtime/process/process.h"
#include "tests/fake_cuda/of_fake.h"
#include "tests/gpu/cases.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr int kFailed = 1;
constexpr int kNoGpu = 4;

constexpr const char* kFooter = R"text(
Without names all cases run, one after another. The GPU is number 0. Nothing is compared with a time but what hangs.

Exit codes:
  0 none failed   1 a case failed   2 wrong usage   4 there is no GPU: all are skipped)text";

struct Arguments {
  std::vector<std::string> cases;
  std::string json;
  Trial::Options trial;
};

/// What a child found, so that this process need not use CUDA.
struct Gpu {
  bool is_there = false;
  bool is_fake = false;
  std::array<char, 128> name = {};
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
  int driver_version = 0;
  std::array<char, 512> trouble = {};
};

void look_at_gpu(Gpu& gpu) {
  const cuda::Device device = use_gpu(0);
  gpu.is_fake = of_fake<int()>("fake_driver_live") != nullptr;
  cuda_driver().call("cuDeviceGetName", gpu.name.data(), static_cast<int>(gpu.name.size()) - 1, device);
  cuda_driver().call("cuDriverGetVersion", &gpu.driver_version);
  const GpuRoom room = room_on_gpu();
  gpu.free_bytes = room.free_bytes;
  gpu.total_bytes = room.total_bytes;
  gpu.is_there = true;
}

Gpu find_gpu() {
  const Segment page = Segment::create("gpu-suite-probe", sizeof(Gpu));
  Gpu& gpu = *new (page.data()) Gpu;
  Process process = Process::start(
      [&] {
        try {
          look_at_gpu(gpu);
        } catch (const Error& error) {
          const std::string text = error.what();
          text.copy(gpu.trouble.data(), gpu.trouble.size() - 1);
        }
      },
      {.name = "probe"});
  const auto exit = process.wait(Deadline::after(std::chrono::seconds(60)));
  if (!exit) throw TimeoutError("the driver does not answer within 60 s");
  if (!exit->ok()) throw Error(exit->describe());
  return gpu;
}

ordered_json describe(const Gpu& gpu) {
  if (!gpu.is_there) return {{"trouble", gpu.trouble.data()}};
  return {{"name", gpu.name.data()},
          {"is_fake", gpu.is_fake},
          {"driver_cuda_version", fmt::format("{}.{}", gpu.driver_version / 1000, gpu.driver_version % 1000 / 10)},
          {"free_bytes", gpu.free_bytes},
          {"total_bytes", gpu.total_bytes}};
}

ordered_json describe(const Case& a_case, const Outcome& outcome) {
  return {{"name", a_case.name},      {"about", a_case.about},      {"outcome", to_string(outcome.verdict)},
          {"reason", outcome.reason}, {"seconds", outcome.seconds}, {"numbers", outcome.numbers}};
}

void say(const Case& a_case, const Outcome& outcome) {
  std::cout << fmt::format("{:<4} {:<8} {:6.1f} s  {}\n", a_case.name, to_string(outcome.verdict), outcome.seconds,
                           a_case.about);
  if (!outcome.reason.empty()) std::cout << "     " << outcome.reason << "\n";
  for (const auto& [name, value] : outcome.numbers.items()) {
    std::cout << fmt::format("     {} = {}\n", name, value.dump());
  }
  std::cout << std::flush;
}

/// Whole, or not at all; after each case, so that what has run is not lost with this process.
void write_report(const ordered_json& report, const std::string& file) {
  if (file.empty()) return;
  const std::string trial = file + ".tmp";
  std::ofstream(trial) << report.dump(1) << "\n";
  fs::rename(trial, file);
}

int run_all(Arguments& arguments) {
  const Gpu gpu = find_gpu();
  arguments.trial.has_kernels = run_on(gpu.is_fake);
  ordered_json report = {{"gpu_suite", 1},
                         {"gpu", describe(gpu)},
                         {"scale", arguments.trial.scale},
                         {"kernels", arguments.trial.has_kernels},
                         {"cases", ordered_json::array()}};
  bool has_failed = false;
  for (const Case& a_case : kCases) {
    if (!arguments.cases.empty() && std::ranges::count(arguments.cases, a_case.name) == 0) continue;
    const Outcome outcome = gpu.is_there ? run(a_case, arguments.trial)
                                         : Outcome{.verdict = Verdict::skipped, .reason = gpu.trouble.data()};
    has_failed = has_failed || outcome.verdict == Verdict::failed;
    say(a_case, outcome);
    report["cases"].push_back(describe(a_case, outcome));
    write_report(report, arguments.json);
  }
  return has_failed ? kFailed : gpu.is_there ? 0 : kNoGpu;
}

/// Many small pieces of memory are many descriptors under way.
void raise_limit_of_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char** argv) {
  Arguments arguments;
  const fs::path here = fs::canonical("/proc/self/exe").parent_path();
  arguments.trial.contract = here / "device_memory_test";
  arguments.trial.fakes = here / "fake_cuda";
  int limit_seconds = 3600;
  std::vector<std::string> names;
  std::string list = "Cases:\n";
  for (const Case& a_case : kCases) {
    names.emplace_back(a_case.name);
    list += fmt::format("  {:<4} {}\n", a_case.name, a_case.about);
  }
  CLI::App parser("Tests of GPU memory shared by processes, on a GPU");
  parser.add_option("CASE", arguments.cases, "What to run, all by default")->check(CLI::IsMember(names));
  parser.add_option("--json", arguments.json, "Write all results to FILE")->type_name("FILE");
  parser.add_option("--scale", arguments.trial.scale, "That part of the kills, additions and bytes of a whole run")
      ->check(CLI::Range(1e-6, 1.0))
      ->type_name("FACTOR")
      ->capture_default_str();
  parser.add_option("--limit", limit_seconds, "The most time for a case; each also has a limit of its own")
      ->check(CLI::PositiveNumber)
      ->type_name("SECONDS");
  parser.add_option("--contract", arguments.trial.contract, "The program of T13")->type_name("FILE");
  parser.add_option("--fake", arguments.trial.fakes, "Where T13 finds the fake libcuda.so.1")->type_name("DIR");
  parser.footer(list + kFooter);
  try {
    parser.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parser.exit(error) == 0 ? 0 : 2;
  }
  arguments.trial.limit = std::chrono::seconds(limit_seconds);
  raise_limit_of_files();
  return run_all(arguments);
}

}  // namespace
}  // namespace hogpen::gpu_suite

int main(int argc, char** argv) {
  try {
    return hogpen::gpu_suite::main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "gpu_suite: error: " << error.what() << "\n";
    return hogpen::gpu_suite::kFailed;
  }
}
