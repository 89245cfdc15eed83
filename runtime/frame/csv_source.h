#pragma once

#include <filesystem>
#include <vector>

#include "runtime/frame/csv.h"
#include "runtime/frame/plan.h"

namespace hogpen::detail {

/// The rows of CSV files, one file after the other. The types of columns that the options leave open are inferred from
/// the first chunk of the first file.
///
/// Throws: SystemError for a file that cannot be read; FormatError for one that is no CSV, or whose columns are others
/// than the first one's; UsageError for options that make no sense. When it is read: FormatError with row and column of
/// a value that does not fit its column's type.
[[nodiscard]] PlanPtr csv_source(std::vector<std::filesystem::path> files, const CsvOptions& options);

}  // namespace hogpen::detail
