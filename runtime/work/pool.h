#pragma once

#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/work/async_result.h"
#include "runtime/work/plan_job.h"
#include "runtime/work/result_stream.h"
#include "runtime/work/task_error.h"

namespace hogpen {

struct MapOptions {
  /// Items a task. 0: as Python's Pool.map, a quarter of each worker's share. See also kAutomaticChunks.
  std::uint64_t chunk_size = 0;
};

/// Workers, processes or threads, that run tasks: Python's multiprocessing.Pool, which never hangs.
///
/// A task is a function or a lambda that captures trivially copyable values, by value: a captured reference means the
/// worker's own copy of that memory. Arguments and results are whatever has a Codec: plain values, strings, vectors,
/// and with runtime/channel/tensor_codec.h tensors, which are not copied. Process workers are forked when the pool is
/// made, from a process that must have one thread then (`Process::start`); later it may do as it likes.
///
/// A worker that dies is replaced, and its task run again, `retries` times; then it fails with a WorkerError. No thread
/// is started for the pool in this process: results are collected, and callbacks called, by who waits or polls.
///
/// Sharing: any thread of the process that made it. Owns: the workers. Its destructor terminates them.
class Pool {
 public:
  /// Throws: UsageError for options that make no sense; what `Process::start` throws.
  explicit Pool(PoolOptions options = {}) : core_(std::make_shared<PoolCore>(std::move(options))) {}
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&&) = delete;
  ~Pool() {
    if (core_) core_->terminate();
  }

  /// Runs one task and waits for its result. Throws: as `AsyncResult::get`.
  template <class F, class... Args>
  auto apply(F function, Args&&... args) {
    return apply_async(function, std::forward<Args>(args)...).get();
  }
  template <class F, class... Args>
  auto apply_async(F function, Args&&... args) {
    using In = detail::ItemOf<true, F, std::tuple<std::decay_t<Args>...>>;
    using Out = detail::ResultOf<true, F, In>;
    const std::vector<In> item = {In(std::forward<Args>(args)...)};
    return AsyncResult<Out>(core_, core_->submit(detail::plan_job<true, In>(function, item)), [](const Job& job) {
      if constexpr (!std::is_void_v<Out>) return detail::read_result<Out>(job, 0);
    });
  }

  /// Runs a task for each item, and returns the results in the order of the items. Throws: as `AsyncResult::get`.
  template <class F, std::ranges::forward_range Range>
  auto map(F function, const Range& items, MapOptions options = {}) {
    return map_async(function, items, options).get();
  }
  template <class F, std::ranges::forward_range Range>
  auto map_async(F function, const Range& items, MapOptions options = {}) {
    return submit_map<false>(function, items, options);
  }
  /// As `map`, for items that are tuples of arguments.
  template <class F, std::ranges::forward_range Range>
  auto starmap(F function, const Range& items, MapOptions options = {}) {
    return starmap_async(function, items, options).get();
  }
  template <class F, std::ranges::forward_range Range>
  auto starmap_async(F function, const Range& items, MapOptions options = {}) {
    return submit_map<true>(function, items, options);
  }

  /// The results one after the other, while input is still being made: see ResultStream. `items` must live as long.
  template <class F, std::ranges::input_range Range>
  auto imap(F function, Range&& items, StreamOptions options = {}) {
    static_assert(std::ranges::borrowed_range<Range>, "imap reads its items while results are taken: give them a name");
    return stream<true>(function, items, options);
  }
  /// Each result as soon as it is there, with the index of its item.
  template <class F, std::ranges::input_range Range>
  auto imap_unordered(F function, Range&& items, StreamOptions options = {}) {
    static_assert(std::ranges::borrowed_range<Range>, "imap reads its items while results are taken: give them a name");
    return stream<false>(function, items, options);
  }

  /// Collects what is finished and calls the callbacks that are due.
  void poll() { core_->poll(); }
  /// No more tasks; the workers end when all are done.
  void close() { core_->close(); }
  /// Ends the workers now. What is not done fails with CancelledError.
  void terminate() { core_->terminate(); }
  /// Waits until the workers have ended: false when the deadline passed first. Throws: UsageError before `close`.
  bool join(Deadline deadline = Deadline::never()) { return core_->join(deadline); }

  [[nodiscard]] int workers() const noexcept { return static_cast<int>(core_->workers()); }
  /// By worker; 0 for one that is being replaced, or is a thread.
  [[nodiscard]] std::vector<int> worker_pids() const { return core_->worker_pids(); }
  /// For what submits jobs of its own: runtime/work/graph_processes.cpp.
  [[nodiscard]] PoolCore& core() const noexcept { return *core_; }

 private:
  template <bool kSpread, class F, class Range>
  auto submit_map(const F& function, const Range& items, MapOptions options) {
    using In = detail::ItemOf<kSpread, F, std::ranges::range_value_t<Range>>;
    using Out = detail::ResultOf<kSpread, F, In>;
    JobPlan plan = detail::plan_job<kSpread, In>(function, items);
    plan.chunk_size = chunk_size(plan.items, options.chunk_size);
    if constexpr (std::is_void_v<Out>) {
      return AsyncResult<void>(core_, core_->submit(std::move(plan)), [](const Job&) {});
    } else {
      return AsyncResult<std::vector<Out>>(core_, core_->submit(std::move(plan)), detail::read_results<Out>);
    }
  }

  template <bool kOrdered, class F, class Range>
  auto stream(const F& function, Range& items, StreamOptions options) {
    using In = detail::ItemOf<false, F, std::ranges::range_value_t<Range>>;
    using Out = detail::ResultOf<false, F, In>;
    static_assert(!std::is_void_v<Out>, "imap gives results: use map for a function that returns nothing");
    using Stream = ResultStream<In, Out, F, std::ranges::iterator_t<Range>, std::ranges::sentinel_t<Range>, kOrdered>;
    return Stream(core_, function, std::ranges::begin(items), std::ranges::end(items), options);
  }

  [[nodiscard]] std::uint64_t chunk_size(std::uint64_t items, std::uint64_t asked) const noexcept {
    constexpr std::uint64_t kPythonsChunksAWorker = 4;
    constexpr std::uint64_t kAutomaticChunksAWorker = 32;  // so that one that got the slow items does not end last
    if (asked != 0 && asked != kAutomaticChunks) return asked;
    const std::uint64_t chunks = core_->workers() * (asked == 0 ? kPythonsChunksAWorker : kAutomaticChunksAWorker);
    return std::max<std::uint64_t>((items + chunks - 1) / chunks, 1);
  }

  std::shared_ptr<PoolCore> core_;
};

}  // namespace hogpen
