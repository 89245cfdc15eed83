#include "tests/gpu/trial.h"

#include <unistd.h>

#include "runtime/core/file.h"
#include "runtime/memory/segment.h"
#include "runtime/process/process.h"

namespace hogpen::gpu_suite {
namespace {

using namespace std::chrono_literals;
using nlohmann::ordered_json;

constexpr auto kGrace = 10s;  // for what waits at the case's deadline, to say so itself
constexpr std::size_t kMostBytes = 64 * 1024;

Outcome run_here(const Case& a_case, Trial& trial) {
  Outcome outcome;
  try {
    a_case.run(trial);
    outcome.verdict = a_case.is_record ? Verdict::recorded : Verdict::passed;
  } catch (const Skipped& reason) {
    outcome = {.verdict = Verdict::skipped, .reason = reason.what()};
  } catch (const std::exception& error) {
    outcome.reason = error.what();
  }
  outcome.numbers = trial.numbers();
  return outcome;
}

void write(const Outcome& outcome, const Segment& to) {
  const ordered_json json = {static_cast<int>(outcome.verdict), outcome.reason, outcome.numbers};
  const std::string text = json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  if (text.size() >= to.size_bytes()) throw Error("the case has too much to say");
  text.copy(reinterpret_cast<char*>(to.data()), text.size());
}

Outcome read(const Segment& from) {
  const ordered_json json = ordered_json::parse(reinterpret_cast<const char*>(from.data()));
  return {.verdict = static_cast<Verdict>(json[0].get<int>()), .reason = json[1], .numbers = json[2]};
}

}  // namespace

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::passed:
      return "passed";
    case Verdict::failed:
      return "failed";
    case Verdict::skipped:
      return "skipped";
    case Verdict::recorded:
      return "recorded";
  }
  return "";
}

Outcome run(const Case& a_case, const Trial::Options& options) {
  if (a_case.needs_kernels && !options.has_kernels) {
    return {.verdict = Verdict::skipped, .reason = "it needs CUDA kernels, and a driver that runs them"};
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto limit = std::min(a_case.limit, options.limit);
  const auto patience = limit + std::min<std::chrono::seconds>(limit, kGrace);
  const Deadline soft = Deadline::after(limit);
  const Segment report = Segment::create("gpu-suite-report", kMostBytes);
  Process process = Process::start(
      [&] {
        Trial trial(options, soft);
        write(run_here(a_case, trial), report);
      },
      {.name = a_case.name});
  const auto exit = process.wait(Deadline::after(patience));
  Outcome outcome;
  if (!exit) {
    process.kill();
    outcome.reason = fmt::format("it hung, and was killed after {} s", patience.count());
  } else if (!exit->ok()) {
    outcome.reason = exit->describe();
  } else {
    outcome = read(report);
  }
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return outcome;
}

}  // namespace hogpen::gpu_suite
