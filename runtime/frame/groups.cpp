// Groups of rows with the same keys: each chunk has its own, which are then put together in the order of the chunks.
#include <arrow/array.h>
#include <arrow/compute/api.h>
#include <arrow/compute/row/grouper.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include <algorithm>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/accumulator.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/keys.h"
#include "runtime/frame/operations.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace cp = arrow::compute;

/// A column, and what is wanted of it.
struct Summed {
  std::shared_ptr<arrow::Field> column;
  std::vector<Aggregate> aggregates;
};

/// Groups, and what has been summed up for each.
class Groups {
 public:
  Groups(const std::vector<arrow::TypeHolder>& key_types, const std::vector<Summed>& summed)
      : grouper_(arrow_ok(cp::Grouper::Make(key_types))) {
    for (const Summed& one : summed) {
      sums_.push_back(make_accumulator(one.column->type(), one.aggregates, one.column->name()));
    }
  }

  void add(const cp::ExecSpan& keys, const arrow::ArrayVector& columns) {
    const std::shared_ptr<arrow::Array> groups = find(keys);
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i]->add(*columns[i], numbers_in(*groups));
  }
  void merge(const Groups& other) {
    const cp::ExecBatch keys = arrow_ok(other.grouper_->GetUniques());
    const std::shared_ptr<arrow::Array> groups = find(cp::ExecSpan(keys));
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i]->merge(*other.sums_[i], numbers_in(*groups));
  }

  [[nodiscard]] arrow::ArrayVector keys() const {
    arrow::ArrayVector arrays;
    for (const arrow::Datum& key : arrow_ok(grouper_->GetUniques()).values) arrays.push_back(key.make_array());
    return arrays;
  }
  [[nodiscard]] std::int64_t size() const { return grouper_->num_groups(); }
  [[nodiscard]] std::shared_ptr<arrow::Array> finish(std::size_t i, Aggregate aggregate) const {
    return sums_[i]->finish(aggregate);
  }

 private:
  std::shared_ptr<arrow::Array> find(const cp::ExecSpan& keys) {
    std::shared_ptr<arrow::Array> groups = arrow_ok(grouper_->Consume(keys)).make_array();
    for (const auto& sum : sums_) sum->resize(grouper_->num_groups());
    return groups;
  }

  std::unique_ptr<cp::Grouper> grouper_;
  std::vector<std::unique_ptr<Accumulator>> sums_;
};

class GroupsPlan final : public Plan {
 public:
  GroupsPlan(SchemaPtr schema, PlanPtr input, std::vector<std::string> keys, std::vector<AggregateOf> aggregates)
      : Plan(std::move(schema)), input_(std::move(input)), keys_(std::move(keys)), aggregates_(std::move(aggregates)) {
    for (const AggregateOf& wanted : aggregates_) {
      const std::size_t place = place_of(wanted);
      if (place == summed_.size()) {
        summed_.push_back({.column = input_->schema()->GetFieldByName(wanted.column), .aggregates = {}});
      }
      summed_[place].aggregates.push_back(wanted.aggregate);
    }
  }

  void need_inputs(Run& run) const override {
    Columns columns(keys_.begin(), keys_.end());
    for (const Summed& one : summed_) columns.insert(one.column->name());
    run.need(*input_, columns);
  }

  std::unique_ptr<ChunkStream> open(Run& run) const override {
    const std::vector<arrow::TypeHolder> key_types = types_of(*input_->schema(), keys_);
    Groups all(key_types, summed_);
    const std::unique_ptr<ChunkStream> chunks = run.open(*input_);
    run.for_each<Groups>(
        *chunks, [&](const Batch& batch) { return groups_of(*batch, key_types); },
        [&](const std::shared_ptr<Groups>& groups) {
          all.merge(*groups);
          return true;
        });
    return stream_table(sorted(all), kChunkRows);
  }

 private:
  /// Of its column among those that are summed up; their number where it is none of them.
  [[nodiscard]] std::size_t place_of(const AggregateOf& wanted) const {
    const auto is_its = [&](const Summed& one) { return one.column->name() == wanted.column; };
    return static_cast<std::size_t>(std::ranges::find_if(summed_, is_its) - summed_.begin());
  }

  [[nodiscard]] std::shared_ptr<Groups> groups_of(const arrow::RecordBatch& batch,
                                                  const std::vector<arrow::TypeHolder>& key_types) const {
    auto groups = std::make_shared<Groups>(key_types, summed_);
    arrow::ArrayVector columns;
    for (const Summed& one : summed_) columns.push_back(to_accumulate(batch.GetColumnByName(one.column->name())));
    const KeyColumns keys(batch, keys_);
    groups->add(keys.span(), columns);
    return groups;
  }

  /// By the keys, and without those that have a null among them.
  [[nodiscard]] std::shared_ptr<arrow::Table> sorted(const Groups& all) const {
    arrow::ArrayVector arrays = all.keys();
    for (const AggregateOf& wanted : aggregates_) arrays.push_back(all.finish(place_of(wanted), wanted.aggregate));
    Batch groups = arrow::RecordBatch::Make(schema(), all.size(), std::move(arrays));
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      const auto& key = groups->column(static_cast<int>(i));
      if (key->null_count() == 0) continue;
      groups = arrow_ok(cp::Filter(arrow::Datum(groups), arrow_ok(cp::IsValid(key)))).record_batch();
    }
    std::vector<cp::SortKey> by;
    for (const std::string& key : keys_) by.emplace_back(key);
    const auto order = arrow_ok(cp::SortIndices(arrow::Datum(groups), cp::SortOptions(by)));
    groups = arrow_ok(cp::Take(arrow::Datum(groups), arrow::Datum(order))).record_batch();
    return arrow_ok(arrow::Table::FromRecordBatches({groups}));
  }

  PlanPtr input_;
  std::vector<std::string> keys_;
  std::vector<AggregateOf> aggregates_;
  std::vector<Summed> summed_;
};

}  // namespace

PlanPtr groups_plan(PlanPtr input, const std::vector<std::string>& keys, const std::vector<AggregateOf>& aggregates) {
  require(!keys.empty(), "groups need at least one key");
  require(!aggregates.empty(), "there is nothing to aggregate: name a column and what to do with it");
  arrow::FieldVector fields;
  const arrow::Schema& schema = *input->schema();
  for (const std::string& key : keys) fields.push_back(schema.field(index_of_column(schema, key)));
  std::vector<AggregateOf> named = aggregates;
  for (AggregateOf& one : named) {
    if (one.name.empty()) one.name = fmt::format("{}_{}", one.column, name_of(one.aggregate));
    const auto& column = schema.field(index_of_column(schema, one.column));
    fields.push_back(arrow::field(one.name, type_of(one.aggregate, *column)));
  }
  const SchemaPtr made = arrow::schema(std::move(fields));
  check_columns(*made, made->field_names());  // no name twice
  return std::make_shared<GroupsPlan>(made, std::move(input), keys, std::move(named));
}

}  // namespace hogpen::detail
