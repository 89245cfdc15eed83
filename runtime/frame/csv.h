#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace hogpen {

/// How a CSV file is read.
struct CsvOptions {
  std::int64_t chunk_rows = 50'000;  ///< about so many rows are read as one piece
  char delimiter = ',';
  char quote = '"';
  bool has_header = true;                         ///< else the columns are named f0, f1, …
  std::map<std::string, std::string> types = {};  ///< of columns, by Arrow's name ("int64"): others are inferred
  std::vector<std::string> null_values = {""};    ///< what stands for a missing value, without quotes
};

}  // namespace hogpen
