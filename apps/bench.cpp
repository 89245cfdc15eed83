#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/bench/suites.h"
#include "apps/cli.h"
#include "apps/output.h"
#include "runtime/core/error.h"
#include "runtime/memory/limits.h"

namespace hogpen {
namespace {

constexpr const char* kFooter =
    R"text(Each figure is the median of its samples; beside it stand the least and the most. Run it on a quiet machine.

Examples:
  hogpen bench                         # all suites
  hogpen bench queue pool --seconds 3
  hogpen bench --json > figures.json

Exit codes:
  0 done   1 failed   2 wrong usage)text";

struct Suite {
  const char* name;
  const char* about;
  void (*run)(Recorder&);
};

constexpr std::array kSuites = {
    Suite{"sync", "locks, events, semaphores and barriers in shared memory", bench_sync},
    Suite{"queue", "messages and tensors between processes and threads", bench_queue},
    Suite{"spawn", "starting and ending processes", bench_spawn},
    Suite{"pool", "tasks on a pool of workers", bench_pool},
};

struct BenchArguments {
  std::vector<std::string> suites;
  double seconds = 1;
  bool json = false;
};

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const Suite& suite : kSuites) names.emplace_back(suite.name);
  return names;
}

// Four digits, with a prefix for large numbers: "12.34", "1.234 M".
std::string readable(double value) {
  for (const auto& [scale, prefix] : {std::pair{1e9, " G"}, {1e6, " M"}, {1e3, " k"}}) {
    if (value >= 10 * scale || (value >= scale && scale > 1e3)) return fmt::format("{:.4g}{}", value / scale, prefix);
  }
  return fmt::format("{:.4g}", value);
}

std::string line(const Figure& figure) {
  return fmt::format("{:<6} {:<44} {:>10} {:<4} ({} to {}, {} samples)\n", figure.suite, figure.name,
                     readable(figure.median), figure.unit, readable(figure.least), readable(figure.most),
                     figure.samples);
}

nlohmann::ordered_json to_json(const Figure& figure) {
  return {{"suite", figure.suite}, {"name", figure.name}, {"unit", figure.unit},      {"median", figure.median},
          {"least", figure.least}, {"most", figure.most}, {"samples", figure.samples}};
}

int bench(const BenchArguments& arguments) {
  const auto is_chosen = [&](const char* name) {
    const auto& chosen = arguments.suites;
    return chosen.empty() || std::find(chosen.begin(), chosen.end(), name) != chosen.end();
  };
  const std::chrono::duration<double> per_figure(arguments.seconds);
  Recorder recorder(std::chrono::duration_cast<std::chrono::nanoseconds>(per_figure), [&](const Figure& figure) {
    arguments.json ? write_stderr(line(figure)) : write_stdout(line(figure));
  });
  for (const Suite& suite : kSuites) {
    if (!is_chosen(suite.name)) continue;
    recorder.begin_suite(suite.name);
    suite.run(recorder);
  }
  if (!arguments.json) return 0;
  nlohmann::ordered_json all = {{"usable_cpus", usable_cpus()}, {"figures", nlohmann::ordered_json::array()}};
  for (const Figure& figure : recorder.figures()) all["figures"].push_back(to_json(figure));
  write_stdout(all.dump() + "\n");
  return 0;
}

std::string describe_suites() {
  std::string text = "What to measure, all by default:";
  for (const Suite& suite : kSuites) text += fmt::format("\n{:<6} {}", suite.name, suite.about);
  return text;
}

}  // namespace

Command add_bench(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("bench", "Measure the runtime on this machine");
  const auto arguments = std::make_shared<BenchArguments>();
  parser->add_option("SUITE", arguments->suites, describe_suites())
      ->type_name("")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->transform(one_of(suite_names()));
  parser->add_option("--seconds", arguments->seconds, "How long to take samples of each figure")
      ->type_name("SECONDS")
      ->transform(real_number(0, 3600));
  parser->add_flag("--json", arguments->json, "Print one JSON object on stdout, and the lines on stderr");
  parser->footer(kFooter);
  return {parser, [arguments](const Arguments&) { return bench(*arguments); }};
}

}  // namespace hogpen
