#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/bench/recorder.h"

namespace hogpen {

/// All that one run of `hogpen bench` has to say.
struct Report {
  nlohmann::ordered_json context = {};  ///< the build, the machine and its load: an object of values and objects
  std::vector<Figure> figures = {};
  std::vector<Note> notes = {};
  std::vector<std::string> warnings = {};
};

/// For people: a line with its end.
[[nodiscard]] std::string line_of(const Figure& figure);
[[nodiscard]] std::string line_of(const Note& note);

/// Four digits, with a prefix for large numbers: "12.34", "1.234 M".
[[nodiscard]] std::string readable(double value);

/// One JSON object, in one line.
[[nodiscard]] std::string to_json(const Report& report);
/// A line of names, and a line for each figure. Source: RFC 4180.
[[nodiscard]] std::string to_csv(const Report& report);

/// What an earlier run printed with --json; without its notes and warnings.
///
/// Throws: UsageError for a file that cannot be read; FormatError for one that is no such report.
[[nodiscard]] Report read_report(const std::filesystem::path& path);

}  // namespace hogpen
