#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "apps/bench/compare.h"
#include "apps/bench/gpu.h"
#include "apps/bench/page.h"
#include "apps/bench/run.h"
#include "apps/bench/suites.h"
#include "apps/cli.h"
#include "apps/output.h"
#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {
namespace {

constexpr const char* kBenchFooter =
    R"text(
Each figure is the median of samples that are taken until it is known to within --noise, or --seconds are
over. A line gives the median, half the width of the interval that holds it with a confidence of 95 %, what
part that is of the best the machine allows where that is known, and the range of the samples. Warnings say
what disturbed them. elementwise knows it for arrays beyond the cache: STREAM scale by all threads, or for
arrays in a GPU's memory a copy there. Clocks and throttling are those of the CPUs, not of GPUs.

gpu is about GPU 0. Where that cannot be used, a note says why and nothing is measured; asked for by name,
that is an error. Without --filter it trains with 1 and 4 workers, else also with 2 and 8.

Examples:
  hogpen bench                                    # all suites
  hogpen bench queue pool --seconds 3
  hogpen bench sync --filter 'mutex|barrier'      # some figures of a suite
  hogpen bench train --filter train/              # all of it, also what takes too long for every day
  hogpen bench gpu --filter gpu/train             # by 1, 2, 4 and 8 processes, and as many threads
  hogpen bench --json > before.json
  hogpen bench --compare before.json              # what has become slower since?
  hogpen bench --csv --html figures.html > figures.csv

Exit codes:
  0 done   1 failed, or --compare found a figure that is worse
  2 wrong usage, or --compare was given no report   4 gpu was asked for by name, and no GPU can be used)text";

struct BenchArguments {
  std::vector<std::string> suites;
  std::string filter;
  double seconds = 1;
  double noise_percent = 2;
  std::int64_t max_elements = std::int64_t{1} << 28;
  bool list = false;
  bool json = false;
  bool csv = false;
  std::string html;
  std::string compare;
  double threshold_percent = 5;
};

/// Which figures somebody asked for.
///
/// Sharing: one thread. Owns: its pattern.
class Selection {
 public:
  explicit Selection(const BenchArguments& arguments) : suites_(arguments.suites) {
    try {
      pattern_ = std::regex(arguments.filter, std::regex::ECMAScript | std::regex::icase);
    } catch (const std::regex_error& error) {
      throw UsageError(fmt::format("--filter: '{}' is no regular expression: {}", arguments.filter, error.what()));
    }
  }
  [[nodiscard]] bool has_suite(const std::string& name) const {
    return suites_.empty() || std::find(suites_.begin(), suites_.end(), name) != suites_.end();
  }
  [[nodiscard]] bool names(const std::string& suite) const { return !suites_.empty() && has_suite(suite); }
  [[nodiscard]] bool has_figure(const std::string& suite_and_name) const {
    return std::regex_search(suite_and_name, pattern_);
  }

 private:
  std::vector<std::string> suites_;
  std::regex pattern_;
};

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const Suite& suite : kSuites) names.emplace_back(suite.name);
  return names;
}

std::string list_of_suites() {
  std::string text;
  for (const Suite& suite : kSuites) text += fmt::format("{:<11} {}\n", suite.name, suite.about);
  return text;
}

std::string help_footer() {
  std::string text = "Suites:\n";
  for (const Suite& suite : kSuites) text += fmt::format("  {:<11} {}\n", suite.name, suite.about);
  return text + kBenchFooter;
}

// Before anything is measured: a report that cannot be written would be minutes lost.
void check_can_be_written(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw UsageError(fmt::format("--html: {} is no file that could be replaced", path.string()));
  }
  try {
    std::filesystem::path trial = path;
    trial += fmt::format(".{}.tmp", ::getpid());
    FileSystem::real().write_and_sync(trial, {});
    FileSystem::real().remove_all(trial);
  } catch (const SystemError& error) {
    throw UsageError(fmt::format("--html: {}", error.what()), error.hint());
  }
}

Report read_what_is_selected(const std::filesystem::path& path, const Selection& selection) {
  Report report = read_report(path);
  std::erase_if(report.figures, [&](const Figure& figure) {
    return !selection.has_suite(figure.suite) || !selection.has_figure(figure.suite + "/" + figure.name);
  });
  return report;
}

int bench(const BenchArguments& arguments) {
  if (arguments.list) {
    write_stdout(list_of_suites());
    return 0;
  }
  const Selection selection(arguments);
  std::optional<Report> before;
  if (!arguments.compare.empty()) before = read_what_is_selected(arguments.compare, selection);
  if (!arguments.html.empty()) check_can_be_written(arguments.html);
  if (selection.names("gpu")) require_gpu();
  const bool stdout_is_for_programs = arguments.json || arguments.csv;
  const auto say = [&](const std::string& text) { stdout_is_for_programs ? write_stderr(text) : write_stdout(text); };
  const Report report = run_suites({.seconds = arguments.seconds,
                                    .noise_percent = arguments.noise_percent,
                                    .max_elements = arguments.max_elements,
                                    .wants_suite = [&](const std::string& name) { return selection.has_suite(name); },
                                    .wants_figure = [&](const std::string& name) { return selection.has_figure(name); },
                                    .is_selective = !arguments.filter.empty(),
                                    .write = say});
  require(arguments.filter.empty() || !report.figures.empty(), "--filter: no figure has '{}' in 'SUITE/NAME'",
          arguments.filter);
  if (arguments.json) write_stdout(to_json(report));
  if (arguments.csv) write_stdout(to_csv(report));
  if (!arguments.html.empty()) write_atomically(FileSystem::real(), arguments.html, to_html(report));
  if (!before) return 0;
  const Comparison comparison = compare(*before, report, arguments.threshold_percent);
  say(comparison.text);
  require(comparison.compared > 0, "--compare: {} has none of the figures that were measured now", arguments.compare);
  return comparison.worse == 0 ? 0 : 1;
}

void add_output_options(CLI::App& parser, BenchArguments& arguments) {
  CLI::Option* json = parser.add_flag("--json", arguments.json, "Print one JSON object on stdout, the lines on stderr");
  parser.add_flag("--csv", arguments.csv, "Print the figures as CSV on stdout, the lines on stderr")->excludes(json);
  parser.add_option("--html", arguments.html, "Write a page with plots, in one file")
      ->type_name("FILE")
      ->transform(any_text());
  parser.add_option("--compare", arguments.compare, "Say what has become better or worse since --json wrote FILE")
      ->type_name("FILE")
      ->transform(any_text());
  parser.add_option("--threshold", arguments.threshold_percent, "With --compare: changes up to that much are none")
      ->type_name("PERCENT")
      ->transform(real_number(0));
}

}  // namespace

Command add_bench(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("bench", "Measure the runtime on this machine");
  const auto arguments = std::make_shared<BenchArguments>();
  parser->add_option("SUITE", arguments->suites, "What to measure, all by default")
      ->default_str("")
      ->type_name("")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->transform(one_of(suite_names()));
  parser->add_flag("--list", arguments->list, "List the suites and measure nothing");
  parser->add_option("--filter", arguments->filter, "Only figures whose SUITE/NAME has this in it, case aside")
      ->type_name("REGEX")
      ->transform(any_text());
  parser->add_option("--seconds", arguments->seconds, "The most time for a figure; 0: five samples of each")
      ->type_name("SECONDS")
      ->transform(real_number(0, 3600));
  parser->add_option("--noise", arguments->noise_percent, "A figure known to within that much needs no more samples")
      ->type_name("PERCENT")
      ->transform(real_number(0));
  parser
      ->add_option("--max-elements", arguments->max_elements,
                   "The longest arrays of memory and elementwise; train takes fewer samples")
      ->type_name("N")
      ->transform(whole_number(1024));
  add_output_options(*parser, *arguments);
  parser->footer(help_footer());
  return {parser, [arguments](const Arguments&) { return bench(*arguments); }};
}

}  // namespace hogpen
