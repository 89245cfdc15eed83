// Frame::map, apart from the other operations: its kernels call LibTorch.
#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/util/bitmap_ops.h>

#include <utility>

#include "kernels/transform.h"
#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/frame.h"
#include "runtime/frame/row_plan.h"
#include "runtime/frame/types.h"

namespace hogpen {
namespace detail {
namespace {

/// Another array of the same nulls.
std::shared_ptr<arrow::Array> mapped(const arrow::Array& array, kernels::UnaryOp op) {
  const std::int64_t length = array.length();
  const bool is_single = array.type()->id() == arrow::Type::FLOAT;
  const std::int64_t width = is_single ? sizeof(float) : sizeof(double);
  std::shared_ptr<arrow::Buffer> values = arrow_ok(arrow::AllocateBuffer(length * width));
  const std::uint8_t* const from = array.data()->buffers[1]->data() + array.offset() * width;
  kernels::transform(op, is_single ? c10::ScalarType::Float : c10::ScalarType::Double, from, values->mutable_data(),
                     static_cast<std::size_t>(length), kernels::Store::cached);
  std::shared_ptr<arrow::Buffer> validity;
  if (array.null_count() != 0) {
    validity = arrow_ok(
        arrow::internal::CopyBitmap(arrow::default_memory_pool(), array.null_bitmap_data(), array.offset(), length));
  }
  return arrow::MakeArray(arrow::ArrayData::Make(array.type(), length, {validity, values}, array.null_count()));
}

class MapPlan final : public RowPlan {
 public:
  MapPlan(PlanPtr input, const std::string& column, kernels::UnaryOp op)
      : RowPlan(with_field(*input->schema(), result_field(*input->schema(), column)), input),
        column_(column),
        op_(op) {}

 private:
  static std::shared_ptr<arrow::Field> result_field(const arrow::Schema& schema, const std::string& column) {
    const auto field = schema.field(index_of_column(schema, column));
    require(arrow::is_integer(field->type()->id()) || arrow::is_floating(field->type()->id()),
            "the column '{}' has no numbers to map: it is {}", column, field->type()->ToString());
    const bool is_single = field->type()->id() == arrow::Type::FLOAT;
    return field->WithType(is_single ? arrow::float32() : arrow::float64());
  }

  Columns columns_for(const Columns& needed) const override { return needed; }
  std::function<Batch(const Batch&)> changing(const Columns& needed) const override {
    if (!needed.contains(column_)) return [](const Batch& batch) { return batch; };
    return [field = schema()->GetFieldByName(column_), op = op_](const Batch& batch) {
      auto array = batch->GetColumnByName(field->name());
      if (!array->type()->Equals(field->type())) array = arrow_ok(arrow::compute::Cast(*array, field->type()));
      return with_array(batch, field, mapped(*array, op));
    };
  }

  std::string column_;
  kernels::UnaryOp op_;
};

}  // namespace
}  // namespace detail

Frame Frame::map(const std::string& column, kernels::UnaryOp op) const {
  return Frame(std::make_shared<detail::MapPlan>(plan_, column, op));
}

}  // namespace hogpen
