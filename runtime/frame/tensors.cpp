// A Frame's columns as tensors, apart from the rest, which needs no LibTorch.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/compute/cast.h>
#include <arrow/table.h>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/frame.h"

namespace hogpen {
namespace {

c10::ScalarType dtype_of(const arrow::Field& column) {
  switch (column.type()->id()) {
    case arrow::Type::FLOAT:
      return c10::ScalarType::Float;
    case arrow::Type::DOUBLE:
      return c10::ScalarType::Double;
    case arrow::Type::INT8:
      return c10::ScalarType::Char;
    case arrow::Type::INT16:
      return c10::ScalarType::Short;
    case arrow::Type::INT32:
      return c10::ScalarType::Int;
    case arrow::Type::INT64:
      return c10::ScalarType::Long;
    case arrow::Type::UINT8:
      return c10::ScalarType::Byte;
    default:
      throw UsageError(
          fmt::format("the column '{}' cannot be a tensor: it is {}", column.name(), column.type()->ToString()),
          "cast it, with with_column");
  }
}

void check_no_nulls(const arrow::ChunkedArray& column, const std::string& name) {
  if (column.null_count() == 0) return;
  throw UsageError(
      fmt::format("the column '{}' has {} missing values, which a tensor cannot have", name, column.null_count()),
      "filter them out, or compute something for them (coalesce)");
}

/// Writes a column of numbers as one of the matrix [rows, columns].
void write_column(const arrow::ChunkedArray& column, float* to, std::int64_t columns) {
  for (const auto& chunk : column.chunks()) {
    const auto numbers =
        detail::arrow_ok(arrow::compute::Cast(*chunk, arrow::float32(), arrow::compute::CastOptions::Unsafe()));
    const float* const from = numbers->data()->GetValues<float>(1);
    for (std::int64_t row = 0; row < numbers->length(); ++row, to += columns) *to = from[row];
  }
}

/// The columns of a table side by side.
void write_columns(const arrow::Table& table, const at::Tensor& matrix) {
  for (int i = 0; i < table.num_columns(); ++i) {
    (void)dtype_of(*table.schema()->field(i));
    check_no_nulls(*table.column(i), table.schema()->field(i)->name());
    write_column(*table.column(i), static_cast<float*>(matrix.mutable_data_ptr()) + i, table.num_columns());
  }
}

}  // namespace

at::Tensor Frame::to_tensor(const std::string& column, const FrameOptions& options) const {
  const auto table = select({column}).compute(options);
  const auto& field = table->schema()->field(0);
  const c10::ScalarType dtype = dtype_of(*field);
  const auto& chunks = table->column(0);
  check_no_nulls(*chunks, column);
  if (chunks->length() == 0) return at::empty({0}, dtype);
  const auto array =
      chunks->num_chunks() == 1 ? chunks->chunk(0) : detail::arrow_ok(arrow::Concatenate(chunks->chunks()));
  const auto width = static_cast<std::int64_t>(c10::elementSize(dtype));
  auto* const data = const_cast<std::uint8_t*>(array->data()->buffers[1]->data() + array->offset() * width);
  return at::from_blob(data, {array->length()}, [array](void*) {}, at::TensorOptions(dtype));
}

at::Tensor Frame::to_tensor(const std::vector<std::string>& columns, const FrameOptions& options) const {
  const auto table = select(columns).compute(options);
  const at::Tensor matrix = at::empty({table->num_rows(), table->num_columns()}, c10::ScalarType::Float);
  write_columns(*table, matrix);
  return matrix;
}

void Frame::write_tensor(const std::vector<std::string>& columns, const at::Tensor& out,
                         const FrameOptions& options) const {
  const auto table = select(columns).compute(options);
  const auto width = static_cast<std::int64_t>(columns.size());
  require(out.scalar_type() == c10::ScalarType::Float && out.is_contiguous() && out.is_cpu() &&
              out.sizes() == c10::IntArrayRef({table->num_rows(), width}),
          "the tensor must be float32 of shape [{}, {}] on the CPU, without gaps", table->num_rows(), width);
  write_columns(*table, out);
}

}  // namespace hogpen
