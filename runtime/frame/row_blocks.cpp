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

void refuse_type(const arrow::Field& column) {
  throw UsageError(
      fmt::format("the column '{}' cannot be a tensor: it is {}", column.name(), column.type()->ToString()),
      "cast it, with with_column");
}

void check_no_nulls(const arrow::Array& values, const std::string& column, std::int64_t first_row) {
  for (std::int64_t row = 0; values.null_count() != 0 && row < values.length(); ++row) {
    if (values.IsValid(row)) continue;
    throw UsageError(fmt::format("the column '{}' has no value in row {}", column, first_row + row + 1),
                     "filter such rows out, or compute something for them (coalesce)");
  }
}

void check_are_numbers(const arrow::Schema& schema, const std::vector<std::string>& columns) {
  for (const std::string& name : columns) {
    const auto& field = schema.field(index_of_column(schema, name));
    const auto type = field->type()->id();
    if (!arrow::is_floating(type) && !arrow::is_integer(type) && type != arrow::Type::BOOL) refuse_type(*field);
  }
}

void write_rows(const arrow::RecordBatch& chunk, const std::vector<std::string>& columns, std::int64_t first_row,
                float* to, std::span<const double> origin) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto column = chunk.GetColumnByName(columns[i]);
    check_no_nulls(*column, columns[i], first_row);
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
    : columns_(std::move(columns)), has_origin_(origin == Origin::first_row) {
  check_are_numbers(schema, columns_);
}

void RowBlocks::append(const arrow::RecordBatch& chunk) {
  if (chunk.num_rows() == 0) return;
  if (has_origin_ && origin_.empty()) {
    for (const std::string& name : columns_) {
      const auto column = chunk.GetColumnByName(name);
      check_no_nulls(*column, name, rows_);
      const auto number = arrow_ok(arrow_ok(column->GetScalar(0))->CastTo(arrow::float64()));
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
