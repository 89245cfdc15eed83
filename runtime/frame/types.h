#pragma once

#include <arrow/type_fwd.h>

#include <memory>
#include <string>
#include <vector>

namespace hogpen::detail {

/// By Arrow's name: "int64", "float64" or "double", "string", "bool", "date32", "timestamp[s]", …
///
/// Throws: UsageError for another.
[[nodiscard]] std::shared_ptr<arrow::DataType> type_named(const std::string& name);

/// Throws: UsageError, with the names that are like it, when the schema has no such column.
int index_of_column(const arrow::Schema& schema, const std::string& name);
/// The places of several. Throws: likewise.
[[nodiscard]] std::vector<int> indices_of_columns(const arrow::Schema& schema, const std::vector<std::string>& names);
void check_columns(const arrow::Schema& schema, const std::vector<std::string>& names);

}  // namespace hogpen::detail
