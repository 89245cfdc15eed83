#include "apps/bench/run.h"

#include <fmt/ranges.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "apps/bench/conditions.h"
#include "apps/bench/suites.h"
#include "apps/machine.h"
#include "apps/output.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;
using nlohmann::ordered_json;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

ordered_json describe_context(const RunOptions& options) {
  ordered_json context = describe_build();
  context["date"] = utc_now();
  context["seconds_per_figure"] = options.seconds;
  context["noise_bound_percent"] = options.noise_percent;
  context["machine"] = describe_machine();
  return context;
}

std::string line_of(const ordered_json& context) {
  const ordered_json& machine = context["machine"];
  const auto text = [](const ordered_json& value) { return value.get<std::string>(); };
  return fmt::format("hogpen {} ({}, {}, commit {}) on {}, {}, {} usable CPUs, {}\n", text(context["hogpen"]),
                     text(context["build_type"]), text(context["compiler"]), text(context["commit"]),
                     text(machine["cpu"]), text(machine["simd"]), machine["usable_cpus"].get<int>(),
                     text(machine["kernel"]));
}

std::vector<std::string> warnings_of_build(const nlohmann::ordered_json& build) {
  std::vector<std::string> warnings;
  const auto type = build["build_type"].get<std::string>();
  const auto sanitizer = build["sanitizer"].get<std::string>();
  if (type != "Release") warnings.push_back(fmt::format("this is a {} build, not a Release build", type));
  if (!sanitizer.empty()) warnings.push_back(fmt::format("this build has the {} sanitizer: all is slower", sanitizer));
  return warnings;
}

std::vector<std::string> warnings_of_noise(const std::vector<Figure>& figures, double bound_percent) {
  std::vector<std::string> names;
  for (const Figure& figure : figures) {
    if (figure.noise_percent > bound_percent) names.push_back(figure.suite + "/" + figure.name);
  }
  if (names.empty()) return {};
  return {fmt::format("the noise of {} of {} figures stayed above {} %, try more --seconds: {}", names.size(),
                      figures.size(), bound_percent, fmt::join(names, "; "))};
}

Recorder make_recorder(const RunOptions& options) {
  const std::chrono::duration<double> per_figure(options.seconds);
  return Recorder({.per_figure = std::chrono::duration_cast<std::chrono::nanoseconds>(per_figure),
                   .noise_percent = options.noise_percent,
                   .max_elements = options.max_elements,
                   .is_wanted = options.wants_figure,
                   .is_selective = options.is_selective,
                   .on_figure = [&options](const Figure& figure) { options.write(line_of(figure)); },
                   .on_note = [&options](const Note& note) { options.write(line_of(note)); }});
}

}  // namespace

Report run_suites(const RunOptions& options) {
  Report report{.context = describe_context(options)};
  const auto warn = [&report](const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings) write_stderr("warning: " + warning + "\n");
    report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  };
  write_stderr(line_of(report.context));
  const Conditions before = Conditions::now();
  std::this_thread::sleep_for(200ms);
  const Conditions begin = Conditions::now();
  warn(warnings_of_build(report.context));
  warn(warnings_at_begin(before, begin));
  Recorder recorder = make_recorder(options);
  for (const Suite& suite : kSuites) {
    if (!options.wants_suite(suite.name)) continue;
    recorder.begin_suite(suite.name);
    suite.run(recorder);
  }
  const Conditions end = Conditions::now();
  warn(warnings_at_end(begin, end));
  warn(warnings_of_noise(recorder.figures(), options.noise_percent));
  report.context["load_average_at_begin"] = begin.load_average;
  report.context["load_average_at_end"] = end.load_average;
  report.context["cuda"] = describe_gpus();  // Not earlier: who has asked the driver may not fork any more.
  report.figures = recorder.figures();
  report.notes = recorder.notes();
  return report;
}

}  // namespace hogpen
