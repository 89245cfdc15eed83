#pragma once

#include <arrow/record_batch.h>

#include <functional>
#include <memory>
#include <utility>

#include "runtime/frame/plan.h"

namespace hogpen::detail {

/// An operation that changes each chunk.
class RowPlan : public Plan {
 public:
  RowPlan(SchemaPtr schema, PlanPtr input) : Plan(std::move(schema)), input_(std::move(input)) {}

  void need_inputs(Run& run) const final { run.need(*input_, columns_for(run.needed(*this))); }
  std::unique_ptr<ChunkStream> open(Run& run) const final {
    return change_chunks(run.open(*input_), changing(run.needed(*this)));
  }

 protected:
  [[nodiscard]] const Plan& input() const noexcept { return *input_; }
  /// What the input must have so that this has `needed`.
  [[nodiscard]] virtual Columns columns_for(const Columns& needed) const = 0;
  [[nodiscard]] virtual std::function<Batch(const Batch&)> changing(const Columns& needed) const = 0;

 private:
  PlanPtr input_;
};

/// With a field, and with its array; one of that name is replaced.
[[nodiscard]] SchemaPtr with_field(const arrow::Schema& schema, const std::shared_ptr<arrow::Field>& field);
[[nodiscard]] Batch with_array(const Batch& batch, const std::shared_ptr<arrow::Field>& field,
                               std::shared_ptr<arrow::Array> array);

}  // namespace hogpen::detail
