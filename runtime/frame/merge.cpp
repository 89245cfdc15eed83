// Rows of two Frames that have the same keys: the right one is held in memory, the left one goes by chunk by chunk.
#include <arrow/array.h>
#include <arrow/compute/api.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/operations.h"
#include "runtime/frame/rows_by_key.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace cp = arrow::compute;

/// A column of the result.
struct MergedColumn {
  bool is_key = false;
  bool is_probes = false;  ///< else it is of the side that is held in memory
  std::string source;      ///< its name there
  std::shared_ptr<arrow::Field> field;
};

std::shared_ptr<arrow::Array> taken(const std::shared_ptr<arrow::Array>& column,
                                    const std::shared_ptr<arrow::Array>& rows) {
  return rows ? arrow_ok(cp::Take(arrow::Datum(column), arrow::Datum(rows))).make_array() : column;
}

class MergePlan final : public Plan {
 public:
  /// `probe` goes by; all of its rows stay, unless it `is_inner`. With `is_outer` all rows of `held` stay too.
  MergePlan(SchemaPtr schema, PlanPtr probe, PlanPtr held, std::vector<std::string> on,
            std::vector<MergedColumn> columns, bool is_inner, bool is_outer)
      : Plan(std::move(schema)),
        probe_(std::move(probe)),
        held_(std::move(held)),
        on_(std::move(on)),
        columns_(std::move(columns)),
        is_inner_(is_inner),
        is_outer_(is_outer) {}

  void need_inputs(Run& run) const override {
    Columns of_probe(on_.begin(), on_.end());
    Columns of_held = of_probe;
    for (const MergedColumn& column : columns_) {
      if (run.needed(*this).contains(column.field->name()))
        (column.is_probes ? of_probe : of_held).insert(column.source);
    }
    run.need(*held_, of_held);
    run.need(*probe_, of_probe);
  }

  std::unique_ptr<ChunkStream> open(Run& run) const override {
    const Batch held = arrow_ok(run.collect(*held_)->CombineChunksToBatch());
    const auto rows = std::make_shared<RowsByKey>(held, on_, is_outer_);
    std::vector<MergedColumn> columns;
    for (const MergedColumn& column : columns_) {
      if (run.needed(*this).contains(column.field->name())) columns.push_back(column);
    }
    return std::make_unique<Stream>(run.open(*probe_), rows, std::move(columns), is_inner_, is_outer_);
  }

 private:
  class Stream final : public ChunkStream {
   public:
    Stream(std::unique_ptr<ChunkStream> chunks, std::shared_ptr<RowsByKey> held, std::vector<MergedColumn> columns,
           bool is_inner, bool is_outer)
        : chunks_(std::move(chunks)),
          held_(std::move(held)),
          columns_(std::make_shared<const std::vector<MergedColumn>>(std::move(columns))),
          is_inner_(is_inner),
          are_left_overs_due_(is_outer) {}

    std::optional<MakeChunk> claim() override {
      if (auto make = chunks_->claim()) return merging(std::move(*make));
      if (!std::exchange(are_left_overs_due_, false)) return {};
      return left_overs();
    }

   private:
    /// How many chunks have been claimed, and made.
    struct Latch {
      void wait() const {
        for (std::int64_t seen = made.load(); seen != claimed; seen = made.load()) made.wait(seen);
      }
      std::int64_t claimed = 0;  // all, before anybody waits
      std::atomic<std::int64_t> made{0};
    };

    /// Counts a chunk as made, also where that failed.
    struct Made {
      explicit Made(Latch& latch_in) : latch(latch_in) {}
      ~Made() {
        ++latch.made;
        latch.made.notify_all();
      }
      Made(const Made&) = delete;
      Made& operator=(const Made&) = delete;
      Latch& latch;
    };

    [[nodiscard]] MakeChunk merging(MakeChunk make) const {
      const auto latch = latch_;
      ++latch->claimed;
      return [make = std::move(make), held = held_, columns = columns_, is_inner = is_inner_, latch] {
        const Made made(*latch);
        const Batch batch = make();
        const RowsByKey::Matches matches = held->find(*batch, !is_inner);
        arrow::FieldVector fields;
        arrow::ArrayVector arrays;
        for (const MergedColumn& column : *columns) {
          const auto& from = column.is_probes ? *batch : held->rows();
          arrays.push_back(taken(from.GetColumnByName(column.source), column.is_probes ? matches.left : matches.right));
          fields.push_back(column.field);
        }
        return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), matches.right->length(), std::move(arrays));
      };
    }

    /// When all other chunks are made: rows that were held, and found by none.
    [[nodiscard]] MakeChunk left_overs() const {
      return [held = held_, columns = columns_, latch = latch_]() -> Batch {
        latch->wait();
        const std::shared_ptr<arrow::Array> rows = held->not_found();
        arrow::FieldVector fields;
        arrow::ArrayVector arrays;
        for (const MergedColumn& column : *columns) {
          arrays.push_back(column.is_probes && !column.is_key
                               ? arrow_ok(arrow::MakeArrayOfNull(column.field->type(), rows->length()))
                               : taken(held->rows().GetColumnByName(column.source), rows));
          fields.push_back(column.field);
        }
        return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), rows->length(), std::move(arrays));
      };
    }

    std::unique_ptr<ChunkStream> chunks_;
    std::shared_ptr<RowsByKey> held_;
    std::shared_ptr<const std::vector<MergedColumn>> columns_;
    bool is_inner_;
    bool are_left_overs_due_;
    std::shared_ptr<Latch> latch_ = std::make_shared<Latch>();
  };

  PlanPtr probe_;
  PlanPtr held_;
  std::vector<std::string> on_;
  std::vector<MergedColumn> columns_;
  bool is_inner_;
  bool is_outer_;
};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// The columns of one side. Those that both have, and are no keys, get a suffix.
void add_columns(std::vector<MergedColumn>& columns, const arrow::Schema& side, const arrow::Schema& other,
                 const std::vector<std::string>& on, const char* suffix, bool is_probes, bool with_keys) {
  for (const auto& field : side.fields()) {
    const bool is_key = contains(on, field->name());
    if (is_key && !with_keys) continue;
    const bool is_in_both = !is_key && other.GetFieldIndex(field->name()) >= 0;
    columns.push_back({.is_key = is_key,
                       .is_probes = is_probes || is_key,
                       .source = field->name(),
                       .field = field->WithName(is_in_both ? field->name() + suffix : field->name())});
  }
}

}  // namespace

PlanPtr merge_plan(PlanPtr left, PlanPtr right, const std::vector<std::string>& on, How how) {
  require(!on.empty(), "a merge needs at least one column to merge on");
  for (const std::string& key : on) {
    const auto& of_left = left->schema()->field(index_of_column(*left->schema(), key))->type();
    const auto& of_right = right->schema()->field(index_of_column(*right->schema(), key))->type();
    if (!of_left->Equals(of_right)) {
      throw UsageError(fmt::format("the key '{}' is {} on the left, but {} on the right", key, of_left->ToString(),
                                   of_right->ToString()),
                       "cast one of them");
    }
  }
  const bool is_right = how == How::right;
  std::vector<MergedColumn> columns;
  add_columns(columns, *left->schema(), *right->schema(), on, "_x", !is_right, true);
  add_columns(columns, *right->schema(), *left->schema(), on, "_y", is_right, false);
  arrow::FieldVector fields;
  for (const MergedColumn& column : columns) fields.push_back(column.field);
  const SchemaPtr schema = arrow::schema(std::move(fields));
  check_columns(*schema, schema->field_names());  // no name twice
  if (is_right) std::swap(left, right);
  return std::make_shared<MergePlan>(schema, std::move(left), std::move(right), on, std::move(columns),
                                     how == How::inner, how == How::outer);
}

}  // namespace hogpen::detail
