#include <arrow/record_batch.h>
#include <arrow/table.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "runtime/frame/arrow_error.h"
#include "runtime/frame/plan.h"
#include "runtime/frame/types.h"
#include "runtime/work/team.h"

namespace hogpen::detail {
namespace {

constexpr std::size_t kAheadOfOrder = 2;  // chunks of each thread that are done and wait for an earlier one

/// Chunks that several threads make, and that are consumed in their order.
class InOrder {
 public:
  using Change = std::function<std::shared_ptr<void>(Batch)>;
  using Consume = std::function<bool(std::shared_ptr<void>)>;

  InOrder(ChunkStream& chunks, const Change& change, const Consume& consume, std::size_t threads)
      : chunks_(chunks), change_(change), consume_(consume), most_waiting_(kAheadOfOrder * threads) {}

  void work() noexcept {
    while (const auto claimed = claim()) {
      Made made;
      try {
        made.value = change_(claimed->second());
      } catch (...) {
        made.failure = std::current_exception();
      }
      deliver(claimed->first, std::move(made));
    }
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Made {
    std::shared_ptr<void> value;
    std::exception_ptr failure;
  };

  std::optional<std::pair<std::size_t, MakeChunk>> claim() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_over_ || claimed_ - consumed_ <= most_waiting_; });
    if (is_over_) return {};
    std::optional<MakeChunk> make;
    try {
      make = chunks_.claim();
    } catch (...) {
      is_over_ = true;
      make = [failure = std::current_exception()]() -> Batch { std::rethrow_exception(failure); };
    }
    if (!make) {
      is_over_ = true;
      return {};
    }
    return std::pair(claimed_++, std::move(*make));
  }

  /// What comes next is consumed by whoever has made it, and what waited for it too. So is a failure: one of a chunk
  /// that nobody comes to need is none.
  void deliver(std::size_t number, Made made) {
    std::unique_lock lock(mutex_);
    if (made.failure) is_over_ = true;  // All before it are claimed.
    waiting_.emplace(number, std::move(made));
    if (is_consuming_) return;
    is_consuming_ = true;
    for (auto next = waiting_.begin(); next != waiting_.end() && next->first == consumed_ && !is_done_;
         next = waiting_.begin()) {
      const Made one = std::move(next->second);
      waiting_.erase(next);
      lock.unlock();
      std::exception_ptr failure = one.failure;
      const bool wants_more = !failure && wants_more_after(one.value, failure);
      lock.lock();
      ++consumed_;
      if (failure) failure_ = failure;
      if (!wants_more) is_done_ = is_over_ = true;
      changed_.notify_all();
    }
    is_consuming_ = false;
    changed_.notify_all();
  }

  bool wants_more_after(const std::shared_ptr<void>& value, std::exception_ptr& failure) {
    try {
      return consume_(value);
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }

  ChunkStream& chunks_;
  const Change& change_;
  const Consume& consume_;
  std::size_t most_waiting_;

  std::mutex mutex_;  // for all below
  std::condition_variable changed_;
  std::map<std::size_t, Made> waiting_;  // made, but not consumed
  std::size_t claimed_ = 0;
  std::size_t consumed_ = 0;
  bool is_consuming_ = false;
  bool is_over_ = false;  // nothing more is claimed
  bool is_done_ = false;  // nothing more is consumed
  std::exception_ptr failure_;
};

class ChangedStream final : public ChunkStream {
 public:
  ChangedStream(std::unique_ptr<ChunkStream> chunks, std::function<Batch(const Batch&)> change)
      : chunks_(std::move(chunks)), change_(std::make_shared<std::function<Batch(const Batch&)>>(std::move(change))) {}

  std::optional<MakeChunk> claim() override {
    std::optional<MakeChunk> make = chunks_->claim();
    if (!make) return {};
    return [make = std::move(*make), change = change_] { return (*change)(make()); };
  }

 private:
  std::unique_ptr<ChunkStream> chunks_;
  std::shared_ptr<std::function<Batch(const Batch&)>> change_;
};

class TableStream final : public ChunkStream {
 public:
  TableStream(std::shared_ptr<arrow::Table> table, std::int64_t chunk_rows)
      : table_(std::move(table)), reader_(*table_) {
    reader_.set_chunksize(chunk_rows);
  }

  std::optional<MakeChunk> claim() override {
    Batch batch;
    arrow_ok(reader_.ReadNext(&batch));
    if (!batch) return {};
    return [batch] { return batch; };
  }

 private:
  std::shared_ptr<arrow::Table> table_;
  arrow::TableBatchReader reader_;
};

}  // namespace

/// Chunks of a plan that are made once.
struct Run::Kept {
  std::mutex mutex;
  std::vector<Batch> chunks;
  bool are_all_claimed = false;
};

class Run::KeepingStream final : public ChunkStream {
 public:
  KeepingStream(std::unique_ptr<ChunkStream> chunks, std::shared_ptr<Kept> kept)
      : chunks_(std::move(chunks)), kept_(std::move(kept)) {}

  std::optional<MakeChunk> claim() override {
    std::optional<MakeChunk> make = chunks_->claim();
    const std::lock_guard lock(kept_->mutex);
    if (!make) {
      kept_->are_all_claimed = true;
      return {};
    }
    const std::size_t place = kept_->chunks.size();
    kept_->chunks.emplace_back();
    return [make = std::move(*make), kept = kept_, place] {
      Batch batch = make();
      const std::lock_guard keep(kept->mutex);
      return kept->chunks[place] = std::move(batch);
    };
  }

 private:
  std::unique_ptr<ChunkStream> chunks_;
  std::shared_ptr<Kept> kept_;
};

class Run::KeptStream final : public ChunkStream {
 public:
  explicit KeptStream(std::shared_ptr<Kept> kept) : kept_(std::move(kept)) {}

  std::optional<MakeChunk> claim() override {
    if (next_ == kept_->chunks.size()) return {};
    return [batch = kept_->chunks[next_++]] { return batch; };
  }

 private:
  std::shared_ptr<Kept> kept_;
  std::size_t next_ = 0;
};

Run::Run(const Plan& plan, Executor& executor, bool keeps_chunks, std::function<void(const Run&)> after_chunk)
    : executor_(executor), keeps_chunks_(keeps_chunks), after_chunk_(std::move(after_chunk)) {
  need(plan, all_columns(*plan.schema()));
}

Run::~Run() = default;

void Run::need(const Plan& plan, const Columns& columns) {
  Uses& uses = uses_[&plan];
  const bool is_first = uses.count == 0;
  const std::size_t had = uses.columns.size();
  uses.columns.insert(columns.begin(), columns.end());
  if (!is_widening_) ++uses.count;
  if (is_first || !keeps_chunks_) return plan.need_inputs(*this);
  // It will be computed once: its inputs have no more uses than before, but maybe of more columns.
  if (uses.columns.size() == had) return;
  const bool was_widening = std::exchange(is_widening_, true);
  plan.need_inputs(*this);
  is_widening_ = was_widening;
}

std::unique_ptr<ChunkStream> Run::open(const Plan& plan) {
  Uses& uses = uses_.at(&plan);
  if (!keeps_chunks_ || uses.count == 1) return plan.open(*this);
  if (uses.kept && uses.kept->are_all_claimed) return std::make_unique<KeptStream>(uses.kept);
  uses.kept = std::make_shared<Kept>();
  return std::make_unique<KeepingStream>(plan.open(*this), uses.kept);
}

void Run::for_each_of(ChunkStream& chunks, const std::function<std::shared_ptr<void>(Batch)>& change,
                      const std::function<bool(std::shared_ptr<void>)>& consume) {
  Team& team = executor_.team();
  const InOrder::Consume consume_and_tell = [&](std::shared_ptr<void> made) {
    const bool wants_more = consume(std::move(made));
    if (after_chunk_) after_chunk_(*this);
    return wants_more;
  };
  InOrder order(chunks, change, consume_and_tell, team.threads());
  team.run([&](std::size_t) { order.work(); });
  order.rethrow();
}

std::shared_ptr<arrow::Table> Run::collect(const Plan& plan) {
  const std::unique_ptr<ChunkStream> chunks = open(plan);
  arrow::RecordBatchVector batches;
  for_each(*chunks, [&](Batch batch) {
    batches.push_back(std::move(batch));
    return true;
  });
  const SchemaPtr schema = batches.empty() ? schema_of(*plan.schema(), needed(plan)) : batches.front()->schema();
  return arrow_ok(arrow::Table::FromRecordBatches(schema, std::move(batches)));
}

SchemaPtr schema_of(const arrow::Schema& schema, const Columns& needed) {
  arrow::FieldVector fields;
  for (const auto& field : schema.fields()) {
    if (needed.contains(field->name())) fields.push_back(field);
  }
  return arrow::schema(std::move(fields));
}

Columns all_columns(const arrow::Schema& schema) {
  const std::vector<std::string> names = schema.field_names();
  return {names.begin(), names.end()};
}

Batch in_order_of(const arrow::Schema& schema, const arrow::RecordBatch& chunk) {
  return arrow_ok(chunk.SelectColumns(indices_of_columns(*chunk.schema(), schema.field_names())));
}

std::unique_ptr<ChunkStream> change_chunks(std::unique_ptr<ChunkStream> chunks,
                                           std::function<Batch(const Batch&)> change) {
  return std::make_unique<ChangedStream>(std::move(chunks), std::move(change));
}

std::unique_ptr<ChunkStream> stream_table(std::shared_ptr<arrow::Table> table, std::int64_t chunk_rows) {
  return std::make_unique<TableStream>(std::move(table), chunk_rows);
}

}  // namespace hogpen::detail
