#pragma once

#include <arrow/array.h>
#include <arrow/compute/api_scalar.h>
#include <arrow/compute/exec.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/frame/arrow_error.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {

/// The columns of a chunk by which its rows are told apart, as Arrow's Grouper takes them.
///
/// Sharing: one thread. Owns: a share of the columns.
class KeyColumns {
 public:
  KeyColumns(const arrow::RecordBatch& batch, const std::vector<std::string>& names) {
    std::vector<arrow::Datum> keys;
    for (const std::string& name : names) keys.push_back(as_key(batch.GetColumnByName(name)));
    batch_ = arrow::compute::ExecBatch(std::move(keys), batch.num_rows());
  }
  [[nodiscard]] arrow::compute::ExecSpan span() const { return arrow::compute::ExecSpan(batch_); }

 private:
  /// The Grouper compares bytes: -0.0 becomes 0.0.
  static arrow::Datum as_key(const std::shared_ptr<arrow::Array>& column) {
    if (column->type_id() != arrow::Type::FLOAT && column->type_id() != arrow::Type::DOUBLE) return column;
    const auto zero = arrow_ok(arrow::MakeScalar(column->type(), 0.0));
    return arrow_ok(arrow::compute::Add(column, zero));
  }

  arrow::compute::ExecBatch batch_;
};

[[nodiscard]] inline std::vector<arrow::TypeHolder> types_of(const arrow::Schema& schema,
                                                             const std::vector<std::string>& names) {
  std::vector<arrow::TypeHolder> types;
  for (const std::string& name : names) types.emplace_back(schema.field(index_of_column(schema, name))->type());
  return types;
}

/// The numbers that a Grouper has given.
[[nodiscard]] inline std::span<const std::uint32_t> numbers_in(const arrow::Array& groups) {
  return {groups.data()->GetValues<std::uint32_t>(1), static_cast<std::size_t>(groups.length())};
}

}  // namespace hogpen::detail
