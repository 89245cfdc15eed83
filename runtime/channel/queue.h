#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "runtime/channel/codec.h"
#include "runtime/channel/record_queue.h"
#include "runtime/core/deadline.h"

namespace hogpen {

namespace detail {

// Of a RecordQueue or a PipeEnd.
template <class T, class Records>
bool put_value(Records& queue, const T& value, Deadline deadline) {
  if constexpr (PlainMessage<T>) {
    return queue.put(std::as_bytes(std::span(&value, 1)), {}, deadline);
  } else {
    Encoder encoder;
    encoder.value<T>(value);
    return queue.put(encoder.bytes, encoder.blocks, deadline);
  }
}

template <class T, class Records>
std::optional<T> get_value(Records& queue, Deadline deadline) {
  std::optional<T> value;
  queue.get(
      [&](std::span<const std::byte> payload) {
        Decoder decoder{payload};
        value.emplace(decoder.value<T>());
      },
      deadline);
  return value;
}

}  // namespace detail

/// Messages from any number of processes to any number of processes, first in, first out.
///
/// Make it before the fork: the children inherit it. There is no feeder thread: what `put` has put is there, whatever
/// becomes of its process, and nothing needs to be drained before a process can end. So `put` waits while the queue is
/// full, also by its bytes (`QueueOptions`), where Python's unbounded queue takes all that the memory holds.
///
/// Types: what has a `Codec`: runtime/channel/codec.h and, for tensors, runtime/channel/tensor_codec.h.
/// Sharing: processes of one family and threads; copies are handles to the same queue.
/// Owns: a share of this process's mapping of it.
template <class T>
class Queue {
 public:
  /// Throws: what RecordQueue throws.
  explicit Queue(QueueOptions options = {}) : records_(std::make_shared<RecordQueue>(options)) {}

  /// False when there was no room in time. What `Codec` throws leaves the queue as it was. Throws: ClosedError.
  bool put(const T& value, Deadline deadline = Deadline::never()) {
    return detail::put_value<T>(*records_, value, deadline);
  }
  /// The oldest message. Empty: there was none in time, or none is left and the queue is `closed()`.
  std::optional<T> get(Deadline deadline = Deadline::never()) { return detail::get_value<T>(*records_, deadline); }

  /// From now on `put` throws, and `get` gives what is left and then nothing. Wakes whoever waits.
  void close() noexcept { records_->close(); }
  [[nodiscard]] bool closed() const noexcept { return records_->closed(); }
  [[nodiscard]] std::size_t size() const noexcept { return records_->size(); }
  [[nodiscard]] bool empty() const noexcept { return records_->empty(); }
  [[nodiscard]] bool full() const noexcept { return records_->full(); }
  [[nodiscard]] RecordQueue& records() const noexcept { return *records_; }

 private:
  std::shared_ptr<RecordQueue> records_;
};

/// A Queue with nothing but put, get and empty.
///
/// Sharing, Owns: as Queue.
template <class T>
class SimpleQueue {
 public:
  SimpleQueue() = default;
  void put(const T& value) { queue_.put(value); }
  /// No value: the queue was closed and nothing is left.
  std::optional<T> get() { return queue_.get(); }
  void close() noexcept { queue_.close(); }
  [[nodiscard]] bool empty() const noexcept { return queue_.empty(); }

 private:
  Queue<T> queue_;
};

/// A Queue whose messages are tasks: `join` waits until all of them have been dealt with.
///
/// A consumer that is killed between `get` and `task_done` leaves its task undone: give `join` a deadline.
///
/// Sharing, Owns: as Queue.
template <class T>
class JoinableQueue : public Queue<T> {
 public:
  using Queue<T>::Queue;

  /// To be called once for each message got, after the work. Throws: UsageError when it is called more often.
  void task_done() { this->records().task_done(); }
  /// Waits until `task_done` was called for all messages that were put; false when it was not in time.
  bool join(Deadline deadline = Deadline::never()) { return this->records().wait_until_done(deadline); }
};

}  // namespace hogpen
