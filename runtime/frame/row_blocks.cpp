#include "runtime/frame/row_blocks.h"

#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>

#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {

void check_are_numbers(const arrow::Schema& schema, const std::vector<std::string>& columns) {
  for (const std::string& name : columns) {
    const auto& type = *schema.field(index_of_column(schema, name))->type();
    const bool is_number =
        arrow::is_floating(type.id()) || arrow::is_integer(type.id()) || type.id() == arrow::Type::BOOL;
    if (!is_number) {
      throw UsageError(fmt::format("the column '{}' cannot be a tensor: it is {}", name, type.ToString()),
                       "cast it, with with_column");
    }
  }
}

void refuse_missing(const std::string& column, std::int64_t row) {
  throw UsageError(fmt::format("the column '{}' has no value in row {}", column, row + 1),
                   "filter such rows out, or compute something for them (coalesce)");
}

void write_rows(const arrow::RecordBatch& chunk, const std::vector<std::string>& columns, std::int64_t first_row,
                float* to, std::span<const double> origin) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto column = chunk.GetColumnByName(columns[i]);
    for (std::int64_t row = 0; column->null_count() != 0 && row < column->length(); ++row) {
      if (column->IsNull(row)) refuse_missing(columns[i], first_row + row);
    }
    const auto write = [&]<class T>(const std::shared_ptr<arrow::DataType>& type, T zero) {
      const auto numbers = arrow_ok(arrow::compute::Cast(*column, type, arrow::compute::CastOptions::Unsafe()));
      const auto* const from = numbers->data()->GetValues<T>(1);
      for (std::int64_t row = 0; row < numbers->length(); ++row) {
        to[row * columns.size() + i] = static_cast<float>(from[row] - zero);
      }
    };
    origin.empty() ? write(arrow::float32(), 0.0F) : write(arrow::float64(), origin[i]);
  }
}

RowBlocks::RowBlocks(const arrow::Schema& schema, std::vector<std::string> columns, Origin origin)
    : columns_(std::move(columns)), is_from_(origin) {
  check_are_numbers(schema, columns_);
}

void RowBlocks::append(const arrow::RecordBatch& chunk) {
  if (chunk.num_rows() == 0) return;
  if (is_from_ == Origin::first_row && origin_.empty()) {
    for (const std::string& name : columns_) {
      const auto first = arrow_ok(chunk.GetColumnByName(name)->GetScalar(0));
      if (!first->is_valid) refuse_missing(name, rows_);
      const auto number = arrow_ok(first->CastTo(arrow::float64()));
      origin_.push_back(static_cast<const arrow::DoubleScalar&>(*number).value);
    }
  }
  const std::size_t size = static_cast<std::size_t>(chunk.num_rows()) * columns_.size();
  Block block{std::make_unique_for_overwrite<float[]>(size), size};
  write_rows(chunk, columns_, rows_, block.values.get(), origin_);
  blocks_.push_back(std::move(block));
  rows_ += chunk.num_rows();
}

}  // namespace hogpen::detail
