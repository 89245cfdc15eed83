#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

/// Values from threads to threads of one process, first in, first out. For anything that can be moved.
///
/// Producers fill one batch while consumers empty another; a consumer that has emptied its own takes all that is there.
/// So the two sides meet once a batch and not at every value.
///
/// Sharing: any threads. Not for use across a fork: `Queue`. Owns: the values in it.
template <class T>
class ThreadQueue {
 public:
  ThreadQueue() = default;
  /// `capacity`: values; 0: as many as the memory holds.
  explicit ThreadQueue(std::size_t capacity) : capacity_(capacity) {}

  /// False when there was no room in time: `value` is as it was then. Throws: ClosedError.
  bool put(T&& value, Deadline deadline = Deadline::never()) {
    for (;;) {
      {
        const std::lock_guard lock(put_mutex_);
        if (closed()) throw ClosedError("nothing can be put into a closed queue");
        if (has_room()) {
          incoming_.push_back(std::move(value));
          put_.store(put_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
          break;
        }
      }
      if (!not_full_.wait([&] { return closed() || !full(); }, deadline)) return false;
    }
    not_empty_.notify();
    return true;
  }
  bool put(const T& value, Deadline deadline = Deadline::never()) { return put(T(value), deadline); }

  /// The oldest value. Empty: there was none in time, or none is left and the queue is `closed()`.
  std::optional<T> get(Deadline deadline = Deadline::never()) {
    for (;;) {
      if (std::optional<T> value = take()) {
        if (capacity_ != 0) not_full_.notify();
        return value;
      }
      const auto ready = [&] { return !empty() || closed(); };
      if (!not_empty_.wait(ready, deadline) || (closed() && empty())) return std::nullopt;
    }
  }

  /// From now on `put` throws, and `get` gives what is left and then nothing. Wakes whoever waits.
  void close() {
    {
      const std::lock_guard lock(put_mutex_);  // so that nothing is put once anyone has seen it closed
      closed_.store(true);
    }
    not_empty_.notify();
    not_full_.notify();
  }
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  [[nodiscard]] std::size_t size() const noexcept {
    const std::size_t taken = taken_.load(std::memory_order_acquire);  // first: it is never ahead of put_
    return put_.load(std::memory_order_acquire) - taken;
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

 private:
  static constexpr std::size_t kLine = 64;

  [[nodiscard]] bool full() const noexcept { return capacity_ != 0 && size() >= capacity_; }
  // Under put_mutex_. Looks at what the consumers write to only when it must.
  [[nodiscard]] bool has_room() noexcept {
    if (capacity_ == 0 || put_.load(std::memory_order_relaxed) - taken_seen_ < capacity_) return true;
    taken_seen_ = taken_.load(std::memory_order_acquire);
    return !full();
  }
  std::optional<T> take() {
    const std::lock_guard lock(get_mutex_);
    if (next_ == outgoing_.size()) {
      if (empty()) return std::nullopt;  // without a look at what the producers write to
      outgoing_.clear();
      next_ = 0;
      const std::lock_guard incoming_lock(put_mutex_);
      outgoing_.swap(incoming_);
    }
    std::optional<T> value(std::move(outgoing_[next_++]));
    taken_.store(taken_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return value;
  }

  // put_mutex_ guards incoming_, taken_seen_ and put_, get_mutex_ guards outgoing_, next_ and taken_; it is locked
  // first.
  const std::size_t capacity_ = 0;
  alignas(kLine) std::mutex put_mutex_;
  std::vector<T> incoming_;
  std::size_t taken_seen_ = 0;  // by the last producer that looked
  std::atomic<std::size_t> put_{0};
  std::atomic<bool> closed_{false};
  alignas(kLine) std::mutex get_mutex_;
  std::vector<T> outgoing_;
  std::size_t next_ = 0;
  std::atomic<std::size_t> taken_{0};
  alignas(kLine) WaitPoint not_empty_;
  alignas(kLine) WaitPoint not_full_;
};

}  // namespace hogpen
