#include "apps/bench/report.h"

#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {
namespace {

using nlohmann::ordered_json;

// Raised when a program that reads reports would misread a new one.
constexpr const char* kVersionKey = "hogpen_bench";
constexpr int kVersion = 1;
constexpr const char* kHint = "give a file that `hogpen bench --json > FILE` wrote";

// Says each number of a figure's statistics once, for writing and for reading.
template <class Statistics, class Visit>
void for_each_number(Statistics& figure, const Visit& visit) {
  visit("median", figure.median);
  visit("noise_percent", figure.noise_percent);
  visit("low", figure.low);
  visit("high", figure.high);
  visit("least", figure.least);
  visit("lower_quartile", figure.lower_quartile);
  visit("upper_quartile", figure.upper_quartile);
  visit("most", figure.most);
  visit("samples", figure.samples);
}

ordered_json to_json(const Figure& figure) {
  ordered_json json = {{"suite", figure.suite}, {"name", figure.name}, {"unit", figure.unit}};
  if (!figure.group.empty()) json["group"] = figure.group;
  if (!figure.series.empty()) json["series"] = figure.series;
  if (figure.size != 0) json["size"] = figure.size;
  for_each_number(figure, [&](const char* key, const auto& value) { json[key] = value; });
  if (const auto percent = percent_of_limit(figure)) {
    json["limit"] = figure.limit;
    json["percent_of_limit"] = *percent;
  }
  return json;
}

Figure figure_from(const ordered_json& json) {
  Figure figure;
  json.at("suite").get_to(figure.suite);
  json.at("name").get_to(figure.name);
  json.at("unit").get_to(figure.unit);
  for_each_number(figure, [&](const char* key, auto& value) { json.at(key).get_to(value); });
  return figure;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + "\"";
}

// An unreadable file is the caller's to mend, as a wrong option is.
std::string read_for_user(const std::filesystem::path& path) {
  try {
    return read_file(path);
  } catch (const SystemError& error) {
    throw UsageError(error.what(), kHint);
  }
}

}  // namespace

std::string readable(double value) {
  for (const auto& [scale, prefix] : {std::pair{1e9, " G"}, {1e6, " M"}, {1e3, " k"}}) {
    if (value >= 10 * scale || (value >= scale && scale > 1e3)) return fmt::format("{:.4g}{}", value / scale, prefix);
  }
  return fmt::format("{:.4g}", value);
}

std::string line_of(const Figure& figure) {
  const auto percent = percent_of_limit(figure);
  return fmt::format("{:<11} {:<44} {:>10} {:<4} ± {:>4.1f} %{} ({} to {}, {} samples)\n", figure.suite, figure.name,
                     readable(figure.median), figure.unit, figure.noise_percent,
                     percent ? fmt::format(" {:>6.1f} % of limit", *percent) : "", readable(figure.least),
                     readable(figure.most), figure.samples);
}

std::string line_of(const Note& note) {
  return fmt::format("{:<11} {}\n", note.suite, note.text);
}

std::string to_json(const Report& report) {
  ordered_json all = {{kVersionKey, kVersion}, {"context", report.context}};
  all["warnings"] = report.warnings;
  all["figures"] = ordered_json::array();
  for (const Figure& figure : report.figures) all["figures"].push_back(to_json(figure));
  all["notes"] = ordered_json::array();
  for (const Note& note : report.notes) all["notes"].push_back({{"suite", note.suite}, {"text", note.text}});
  return all.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string to_csv(const Report& report) {
  std::string text = "suite,name,unit,group,series,size,limit,percent_of_limit";
  Statistics names;
  for_each_number(names, [&](const char* key, const auto&) { text += fmt::format(",{}", key); });
  text += "\n";
  for (const Figure& figure : report.figures) {
    text += fmt::format("{},{},{},{},{},", quoted(figure.suite), quoted(figure.name), quoted(figure.unit),
                        quoted(figure.group), quoted(figure.series));
    text += figure.size == 0 ? "," : fmt::format("{},", figure.size);
    if (figure.limit > 0) text += fmt::format("{}", figure.limit);
    text += ",";
    if (const auto percent = percent_of_limit(figure)) text += fmt::format("{}", *percent);
    for_each_number(figure, [&](const char*, const auto& value) { text += fmt::format(",{}", value); });
    text += "\n";
  }
  return text;
}

Report read_report(const std::filesystem::path& path) {
  const std::string text = read_for_user(path);
  Report report;
  std::string where = kVersionKey;
  try {
    const ordered_json all = ordered_json::parse(text);
    if (const int version = all.at(kVersionKey).get<int>(); version != kVersion) {
      throw FormatError(path.string(), where, fmt::format("is {}, but this hogpen reads {}", version, kVersion), kHint);
    }
    where = "context";
    report.context = all.at(where);
    where = "figures";
    for (const ordered_json& figure : all.at(where)) {
      where = fmt::format("figure {}", report.figures.size() + 1);
      report.figures.push_back(figure_from(figure));
    }
  } catch (const ordered_json::parse_error& error) {
    throw FormatError(path.string(), fmt::format("byte {}", error.byte), "this is no JSON", kHint);
  } catch (const ordered_json::exception&) {
    throw FormatError(path.string(), where, "this is missing or not what hogpen bench writes", kHint);
  }
  return report;
}

}  // namespace hogpen
