#pragma once

#include <string>
#include <vector>

#include "models/dataset.h"

namespace hogpen {

/// What is trained on, as the command line names it.
struct DataChoice {
  std::string name;                   ///< of `open_dataset`, or a table's file
  std::vector<std::string> features;  ///< of a table; empty: all columns but the label
  std::string label;                  ///< of a table
  std::string record;                 ///< of a checkpoint; empty: none
};

struct NamedData {
  DatasetPair data;
  std::string record;  ///< what a checkpoint must know to read it again; empty: nothing
};

/// Whether that is the name of a table: .csv, .tsv (also .gz), .parquet, .arrow, .feather.
[[nodiscard]] bool is_table(const std::string& name);

/// Throws: UsageError for options that such data do not take, and for a table where hogpen was built without Apache
/// Arrow; what `open_dataset` and `read_table` throw.
[[nodiscard]] NamedData open_named_data(const DataChoice& choice);
/// A table alone; without Apache Arrow it throws.
[[nodiscard]] NamedData open_table(const DataChoice& choice);

}  // namespace hogpen
