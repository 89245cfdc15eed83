#include "apps/bench/compare.h"

#include <fmt/format.h>

#include <algorithm>

namespace hogpen {
namespace {

using nlohmann::ordered_json;

// What else a figure depends on than the source code.
constexpr const char* kWhatMustNotDiffer[] = {"/build_type",     "/sanitizer",        "/compiler",
                                              "/libtorch",       "/machine/cpu",      "/machine/simd",
                                              "/machine/kernel", "/machine/governor", "/machine/usable_cpus"};

const Figure* find(const Report& report, const Figure& wanted) {
  const auto is_it = [&](const Figure& figure) {
    return figure.suite == wanted.suite && figure.name == wanted.name && figure.unit == wanted.unit;
  };
  const auto found = std::find_if(report.figures.begin(), report.figures.end(), is_it);
  return found == report.figures.end() ? nullptr : &*found;
}

std::string value_at(const ordered_json& context, const char* pointer) {
  const ordered_json::json_pointer place(pointer);
  if (!context.contains(place)) return "unknown";
  const ordered_json& value = context.at(place);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string describe_differences(const ordered_json& before, const ordered_json& now) {
  std::string text;
  for (const char* pointer : kWhatMustNotDiffer) {
    const std::string then = value_at(before, pointer);
    const std::string today = value_at(now, pointer);
    if (then == today) continue;
    text += fmt::format("warning: {} was '{}' and is '{}'\n", std::string_view(pointer).substr(1), then, today);
  }
  return text;
}

std::string describe(const Figure& before, const Figure& now, Change change) {
  const char* verdict = change == Change::worse ? " worse" : change == Change::better ? " better" : "";
  return fmt::format("{:<11} {:<44} {:>10} {:>10} {:<4} x {:.4g}{}\n", now.suite, now.name, readable(before.median),
                     readable(now.median), now.unit, now.median / before.median, verdict);
}

// The figures of `one` that the other has not.
std::string describe_missing(const Report& one, const Report& other, const char* said) {
  std::string text;
  for (const Figure& figure : one.figures) {
    if (!find(other, figure)) text += fmt::format("{:<11} {:<44} {}\n", figure.suite, figure.name, said);
  }
  return text;
}

}  // namespace

Change change_of(const Figure& before, const Figure& now, double threshold_percent) {
  const bool is_more = now.low > before.high;
  const bool is_less = now.high < before.low;
  const auto [less, more] = std::minmax(before.median, now.median);
  if ((!is_more && !is_less) || more <= less * (1 + threshold_percent / 100)) return Change::none;
  return is_more == is_rate(now) ? Change::better : Change::worse;
}

Comparison compare(const Report& before, const Report& now, double threshold_percent) {
  Comparison result;
  std::string lines;
  for (const Figure& figure : now.figures) {
    const Figure* const old = find(before, figure);
    if (!old) continue;
    const Change change = change_of(*old, figure, threshold_percent);
    lines += describe(*old, figure, change);
    ++result.compared;
    if (change == Change::worse) ++result.worse;
  }
  result.text = describe_differences(before.context, now.context);
  result.text += fmt::format("{:<11} {:<44} {:>10} {:>10}\n", "", "", "then", "now") + lines;
  result.text += describe_missing(before, now, "only then") + describe_missing(now, before, "only now");
  result.text += fmt::format("{} of {} figures {} worse, beyond the noise and by more than {} %\n", result.worse,
                             result.compared, result.worse == 1 ? "is" : "are", threshold_percent);
  return result;
}

}  // namespace hogpen
