#pragma once

#include <arrow/type_fwd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/work/executor.h"

namespace hogpen::detail {

using Batch = std::shared_ptr<arrow::RecordBatch>;
using Columns = std::set<std::string>;
using SchemaPtr = std::shared_ptr<arrow::Schema>;

/// Makes a chunk of rows; in any thread.
using MakeChunk = std::function<Batch()>;

/// The chunks of a Frame in the order of its rows.
///
/// Sharing: one thread at a time. Owns: what it reads.
class ChunkStream {
 public:
  virtual ~ChunkStream() = default;
  /// How the next chunk is made; none at the end. Throws: what cannot be read.
  virtual std::optional<MakeChunk> claim() = 0;
};

class Run;

/// What a Frame is: a source, or an operation on others.
///
/// Sharing: immutable. Owns: shares of its inputs.
class Plan {
 public:
  explicit Plan(SchemaPtr schema) : schema_(std::move(schema)) {}
  virtual ~Plan() = default;

  [[nodiscard]] const SchemaPtr& schema() const noexcept { return schema_; }
  /// Tells the run which columns its inputs must have, so that it has those that `run.needed(*this)` names.
  virtual void need_inputs(Run& run) const = 0;
  /// Chunks that have at least the needed columns.
  [[nodiscard]] virtual std::unique_ptr<ChunkStream> open(Run& run) const = 0;
  /// Whether all that goes in comes out, more or less, so that keeping the inputs costs no more than the result.
  [[nodiscard]] virtual bool has_all_rows() const noexcept { return true; }

 private:
  SchemaPtr schema_;
};
using PlanPtr = std::shared_ptr<const Plan>;

/// One computation of a plan.
///
/// Sharing: one thread. Owns: chunks that several plans need, if it keeps them.
class Run {
 public:
  /// With `keeps_chunks`, a plan that several others have as their input is computed once, and its chunks stay in
  /// memory until the end; else it is computed for each.
  /// `after_chunk` is called when a chunk was consumed.
  Run(const Plan& plan, Executor& executor, bool keeps_chunks, std::function<void(const Run&)> after_chunk = {});
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void need(const Plan& plan, const Columns& columns);
  [[nodiscard]] const Columns& needed(const Plan& plan) const { return uses_.at(&plan).columns; }
  [[nodiscard]] std::unique_ptr<ChunkStream> open(const Plan& plan);

  /// Lets the executor's threads make the chunks, and `consume` take them in their order, one at a time, until it
  /// returns false. No more chunks are in memory than three for each thread.
  void for_each(ChunkStream& chunks, const std::function<bool(Batch)>& consume) {
    for_each<arrow::RecordBatch>(chunks, [](Batch batch) { return batch; }, consume);
  }
  /// The same with what `change` makes of each chunk, in the thread that has made it.
  template <class T>
  void for_each(ChunkStream& chunks, const std::function<std::shared_ptr<T>(Batch)>& change,
                const std::function<bool(std::shared_ptr<T>)>& consume) {
    for_each_of(
        chunks, [&](Batch batch) { return std::static_pointer_cast<void>(change(std::move(batch))); },
        [&](std::shared_ptr<void> made) { return consume(std::static_pointer_cast<T>(std::move(made))); });
  }
  /// A source has so many bytes to read, and has read some.
  void expect_bytes(std::uint64_t bytes) noexcept { total_bytes_ += bytes; }
  void count_bytes(std::uint64_t bytes) noexcept { bytes_ += bytes; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return total_bytes_.load(std::memory_order_relaxed); }

  /// All of them, in memory.
  [[nodiscard]] std::shared_ptr<arrow::Table> collect(const Plan& plan);

 private:
  struct Kept;
  struct Uses {
    Columns columns;
    int count = 0;
    std::shared_ptr<Kept> kept;
  };
  class KeepingStream;
  class KeptStream;

  void for_each_of(ChunkStream& chunks, const std::function<std::shared_ptr<void>(Batch)>& change,
                   const std::function<bool(std::shared_ptr<void>)>& consume);

  Executor& executor_;
  bool keeps_chunks_;
  std::function<void(const Run&)> after_chunk_;
  std::map<const Plan*, Uses> uses_;
  bool is_widening_ = false;
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> total_bytes_{0};
};

/// The columns of that schema that are needed, in its order.
[[nodiscard]] SchemaPtr schema_of(const arrow::Schema& schema, const Columns& needed);
[[nodiscard]] Columns all_columns(const arrow::Schema& schema);
/// A chunk may have more columns than its plan, in another order: those of `schema` alone, in its order.
[[nodiscard]] Batch in_order_of(const arrow::Schema& schema, const arrow::RecordBatch& chunk);

/// The chunks of another stream, each changed by `change`.
[[nodiscard]] std::unique_ptr<ChunkStream> change_chunks(std::unique_ptr<ChunkStream> chunks,
                                                         std::function<Batch(const Batch&)> change);
/// Slices of a table, of that many rows.
[[nodiscard]] std::unique_ptr<ChunkStream> stream_table(std::shared_ptr<arrow::Table> table, std::int64_t chunk_rows);

constexpr std::int64_t kChunkRows = 50'000;

}  // namespace hogpen::detail
