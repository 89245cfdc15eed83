// A Frame's columns as tensors, apart from the rest, which needs no LibTorch.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include <algorithm>
#include <span>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/computation.h"
#include "runtime/frame/frame.h"
#include "runtime/frame/row_blocks.h"
#include "runtime/frame/types.h"

namespace hogpen {
namespace {

c10::ScalarType dtype_of(const arrow::Field& column) {
  switch (column.type()->id()) {
    case arrow::Type::FLOAT:
      return c10::ScalarType::Float;
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
    case arrow::Type::DOUBLE:
      return c10::ScalarType::Double;
    default:
      detail::refuse_type(column);
  }
}

}  // namespace

at::Tensor Frame::to_tensor(const std::string& column, const FrameOptions& options) const {
  const c10::ScalarType dtype = dtype_of(*schema()->field(detail::index_of_column(*schema(), column)));
  const auto table = select({column}).compute(options);
  const auto& chunks = table->column(0);
  std::int64_t first_row = 0;
  for (const auto& chunk : chunks->chunks()) {
    detail::check_no_nulls(*chunk, column, first_row);
    first_row += chunk->length();
  }
  if (chunks->length() == 0) return at::empty({0}, dtype);
  const auto array =
      chunks->num_chunks() == 1 ? chunks->chunk(0) : detail::arrow_ok(arrow::Concatenate(chunks->chunks()));
  const auto width = static_cast<std::int64_t>(c10::elementSize(dtype));
  auto* const data = const_cast<std::uint8_t*>(array->data()->buffers[1]->data() + array->offset() * width);
  return at::from_blob(data, {array->length()}, [array](void*) {}, at::TensorOptions(dtype));
}

at::Tensor Frame::to_tensor(const std::vector<std::string>& columns, const FrameOptions& options) const {
  detail::RowBlocks blocks(*schema(), columns);
  const Frame wanted = select(columns);
  detail::for_each_chunk(*wanted.plan(), options, true, [&](const arrow::RecordBatch& chunk) { blocks.append(chunk); });
  const at::Tensor matrix =
      at::empty({blocks.rows(), static_cast<std::int64_t>(columns.size())}, c10::ScalarType::Float);
  auto* to = static_cast<float*>(matrix.mutable_data_ptr());
  blocks.consume([&](std::span<const float> rows) { to = std::ranges::copy(rows, to).out; });
  return matrix;
}

void Frame::write_tensor(const std::vector<std::string>& columns, const at::Tensor& out,
                         const FrameOptions& options) const {
  detail::check_are_numbers(*schema(), columns);
  const auto width = static_cast<std::int64_t>(columns.size());
  const bool is_right = out.scalar_type() == c10::ScalarType::Float && out.is_contiguous() && out.is_cpu() &&
                        out.dim() == 2 && out.size(1) == width;
  std::int64_t rows = 0;
  const Frame wanted = select(columns);
  detail::for_each_chunk(*wanted.plan(), options, true, [&](const arrow::RecordBatch& chunk) {
    if (is_right && rows + chunk.num_rows() <= out.size(0)) {
      detail::write_rows(chunk, columns, rows, static_cast<float*>(out.mutable_data_ptr()) + rows * width);
    }
    rows += chunk.num_rows();
  });
  require(is_right && rows == out.size(0), "the tensor must be float32 of shape [{}, {}] on the CPU, without gaps",
          rows, width);
}

}  // namespace hogpen
