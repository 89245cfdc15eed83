#include "runtime/frame/row_blocks.h"

#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {

void check_are_numbers(const arrow::Schema& schema, const std::vector<std::string>& columns) {
  for (const std::string& name : columns) {
    const auto& type = *schema.field(index_of_column(schema, name))->type();
    const bool is_tensors = type.id() == arrow::Type::FLOAT || type.id() == arrow::Type::DOUBLE ||
                            arrow::is_signed_integer(type.id()) || type.id() == arrow::Type::UINT8;
    if (!is_tensors) {
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
                float* to) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto column = chunk.GetColumnByName(columns[i]);
    for (std::int64_t row = 0; column->null_count() != 0 && row < column->length(); ++row) {
      if (column->IsNull(row)) refuse_missing(columns[i], first_row + row);
    }
    const auto numbers =
        arrow_ok(arrow::compute::Cast(*column, arrow::float32(), arrow::compute::CastOptions::Unsafe()));
    const auto* const from = numbers->data()->GetValues<float>(1);
    for (std::int64_t row = 0; row < numbers->length(); ++row) to[row * columns.size() + i] = from[row];
  }
}

RowBlocks::RowBlocks(const arrow::Schema& schema, std::vector<std::string> columns) : columns_(std::move(columns)) {
  check_are_numbers(schema, columns_);
}

void RowBlocks::append(const arrow::RecordBatch& chunk) {
  const std::size_t size = static_cast<std::size_t>(chunk.num_rows()) * columns_.size();
  Block block{std::make_unique_for_overwrite<float[]>(size), size};
  write_rows(chunk, columns_, rows_, block.values.get());
  blocks_.push_back(std::move(block));
  rows_ += chunk.num_rows();
}

}  // namespace hogpen::detail
