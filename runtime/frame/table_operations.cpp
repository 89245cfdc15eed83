// Operations for which all rows must be there, or the first ones alone.
#include <arrow/array.h>
#include <arrow/compute/api.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/operations.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace cp = arrow::compute;

class SortPlan final : public Plan {
 public:
  SortPlan(PlanPtr input, std::vector<SortKey> keys)
      : Plan(input->schema()), input_(std::move(input)), keys_(std::move(keys)) {}

  void need_inputs(Run& run) const override {
    Columns columns = run.needed(*this);
    for (const SortKey& key : keys_) columns.insert(key.column);
    run.need(*input_, columns);
  }
  std::unique_ptr<ChunkStream> open(Run& run) const override {
    std::shared_ptr<arrow::Table> rows = run.collect(*input_);
    std::vector<cp::SortKey> by;
    for (const SortKey& key : keys_) {
      by.emplace_back(key.column, key.is_descending ? cp::SortOrder::Descending : cp::SortOrder::Ascending);
    }
    const auto order = arrow_ok(cp::SortIndices(arrow::Datum(rows), cp::SortOptions(by)), "sort");
    return stream_table(arrow_ok(cp::Take(arrow::Datum(rows), arrow::Datum(order))).table(), kChunkRows);
  }

 private:
  PlanPtr input_;
  std::vector<SortKey> keys_;
};

class HeadPlan final : public Plan {
 public:
  HeadPlan(PlanPtr input, std::int64_t rows) : Plan(input->schema()), input_(std::move(input)), rows_(rows) {}

  bool has_all_rows() const noexcept override { return false; }
  void need_inputs(Run& run) const override { run.need(*input_, run.needed(*this)); }
  std::unique_ptr<ChunkStream> open(Run& run) const override {
    arrow::RecordBatchVector batches;
    std::int64_t left = rows_;
    if (left > 0) {
      const std::unique_ptr<ChunkStream> chunks = run.open(*input_);
      run.for_each(*chunks, [&](const Batch& batch) {
        batches.push_back(batch->Slice(0, std::min(left, batch->num_rows())));
        left -= batches.back()->num_rows();
        return left > 0;
      });
    }
    const SchemaPtr schema = batches.empty() ? schema_of(*this->schema(), run.needed(*this)) : batches[0]->schema();
    return stream_table(arrow_ok(arrow::Table::FromRecordBatches(schema, batches)), kChunkRows);
  }

 private:
  PlanPtr input_;
  std::int64_t rows_;
};

class TablePlan final : public Plan {
 public:
  explicit TablePlan(std::shared_ptr<arrow::Table> table) : Plan(table->schema()), table_(std::move(table)) {}
  void need_inputs(Run& /*run*/) const override {}
  std::unique_ptr<ChunkStream> open(Run& /*run*/) const override { return stream_table(table_, kChunkRows); }

 private:
  std::shared_ptr<arrow::Table> table_;
};

}  // namespace

PlanPtr sort_plan(PlanPtr input, const std::vector<SortKey>& keys) {
  require(!keys.empty(), "a sort needs at least one column to sort by");
  for (const SortKey& key : keys) (void)index_of_column(*input->schema(), key.column);
  return std::make_shared<SortPlan>(std::move(input), keys);
}

PlanPtr head_plan(PlanPtr input, std::int64_t rows) {
  require(rows >= 0, "head takes a number of rows, not {}", rows);
  return std::make_shared<HeadPlan>(std::move(input), rows);
}

PlanPtr table_source(std::shared_ptr<arrow::Table> table) {
  return std::make_shared<TablePlan>(std::move(table));
}

}  // namespace hogpen::detail
