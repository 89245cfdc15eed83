#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/work/plan_job.h"

namespace hogpen {

/// A result, and which of the items it belongs to.
template <class R>
struct Indexed {
  std::uint64_t index;
  R value;
};

struct StreamOptions {
  std::uint64_t chunk_size = 1;  ///< items a task; kAutomaticChunks: grows while tasks are short
  std::uint64_t look_ahead = 0;  ///< tasks that are made before their results are asked for; 0: 4 a worker
};

/// As many items a task as pay: for `map` a share of all, for `imap` more and more while tasks are short.
inline constexpr std::uint64_t kAutomaticChunks = ~std::uint64_t{0};

/// The results of `imap` and `imap_unordered`, one after the other: `for (auto& result : stream)`, or `next()`.
///
/// Input is taken as the results are fetched, and never more than `look_ahead` tasks before them.
///
/// Sharing: one thread. Owns: the tasks under way; the input's range must live as long.
template <class In, class Out, class F, class Iterator, class Sentinel, bool kOrdered>
class ResultStream {
 public:
  using value_type = std::conditional_t<kOrdered, Out, Indexed<Out>>;

  ResultStream(std::shared_ptr<PoolCore> pool, F function, Iterator begin, Sentinel end, StreamOptions options)
      : pool_(std::move(pool)),
        function_(function),
        input_(std::move(begin)),
        end_(std::move(end)),
        look_ahead_(options.look_ahead > 0 ? options.look_ahead : 4 * pool_->workers()),
        grows_(options.chunk_size == kAutomaticChunks),
        chunk_size_(grows_ ? 1 : options.chunk_size) {
    require(chunk_size_ > 0, "chunk_size must be at least 1");
  }

  /// The next result; none after the last. Throws: TimeoutError when the deadline passed first; as `AsyncResult::get`,
  /// once for each task that failed: the stream goes on after it.
  std::optional<value_type> next(Deadline deadline = Deadline::never()) {
    if (ready_.empty()) {
      submit_ahead();
      if (under_way_.empty()) return std::nullopt;
      collect_one(deadline);
    }
    auto result = std::move(ready_.front());
    ready_.pop_front();
    return result;
  }

  class iterator {
   public:
    using value_type = ResultStream::value_type;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    explicit iterator(ResultStream& stream) : stream_(&stream) { ++*this; }
    value_type& operator*() const { return *current_; }
    iterator& operator++() {
      current_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return !it.current_.has_value(); }

   private:
    ResultStream* stream_;
    mutable std::optional<value_type> current_;
  };
  iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLongTask{1};
  static constexpr std::uint64_t kMostGrowth = 1 << 16;

  void submit_ahead() {
    while (under_way_.size() < look_ahead_ && input_ != end_) {
      std::vector<In> items;
      for (; items.size() < chunk_size_ && input_ != end_; ++input_) items.push_back(static_cast<In>(*input_));
      JobPlan plan = detail::plan_job<false, In>(function_, items);
      plan.chunk_size = items.size();
      first_.push_back(next_index_);
      next_index_ += items.size();
      under_way_.push_back(pool_->submit(std::move(plan)));
    }
  }

  void collect_one(Deadline deadline) {
    const auto began = Clock::now();
    std::size_t which = 0;
    if constexpr (kOrdered) {
      if (!pool_->wait(*under_way_.front(), deadline)) which = under_way_.size();
    } else {
      which = pool_->wait_any(under_way_, deadline);
    }
    if (which == under_way_.size()) throw TimeoutError("the next result was not there in time");
    if (grows_ && Clock::now() - began < kLongTask) chunk_size_ = std::min(2 * chunk_size_, kMostGrowth);
    const std::shared_ptr<Job> job = under_way_[which];
    const std::uint64_t first = first_[which];
    under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(which));
    first_.erase(first_.begin() + static_cast<std::ptrdiff_t>(which));
    submit_ahead();  // The workers go on while the caller looks at the results.
    job->require_success();
    for (std::uint64_t i = 0; i < job->items(); ++i) {
      if constexpr (kOrdered) {
        ready_.push_back(detail::read_result<Out>(*job, i));
      } else {
        ready_.push_back({first + i, detail::read_result<Out>(*job, i)});
      }
    }
  }

  std::shared_ptr<PoolCore> pool_;
  F function_;
  Iterator input_;
  Sentinel end_;
  std::uint64_t look_ahead_;
  bool grows_;
  std::uint64_t chunk_size_;
  std::uint64_t next_index_ = 0;
  std::vector<std::shared_ptr<Job>> under_way_;  // in the order of their input
  std::vector<std::uint64_t> first_;             // index of each one's first item
  std::deque<value_type> ready_;
};

}  // namespace hogpen
