#pragma once

#include <string>
#include <vector>

#include "models/dataset.h"

namespace hogpen {

/// What of a table is learned from, and what.
struct TableOptions {
  std::vector<std::string> features;  ///< columns of numbers; empty: all but the label
  std::string label;                  ///< a column of classes: whole numbers, texts, or true and false
  /// Of an earlier reading (`TableData::record`): its columns, scales and classes are used, and the rest is ignored.
  std::string record;
};

struct TableData {
  DatasetPair data;    ///< every fifth row is kept to test on
  std::string record;  ///< JSON: what must be known to read such a table alike
};

/// Reads a table (`Frame::read`) for training: features become float32, each less its mean and divided by its standard
/// deviation over the rows to train on. Labels from 0 to 255 are the classes themselves; others are numbered in their
/// order, at most 256.
///
/// Throws: UsageError for columns that are not there, are of other types, or have missing values, and for less than
/// five rows; FormatError for a label that a `record` does not know; what `Frame::read` and `compute` throw.
[[nodiscard]] TableData read_table(const std::string& pattern, const TableOptions& options);

}  // namespace hogpen
