#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "runtime/memory/segment.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

enum class BlockId : std::uint64_t;  // runtime/memory/shared_heap.h

struct QueueOptions {
  std::size_t capacity = 0;                          ///< messages; 0: as many as the bytes allow
  std::size_t bytes = std::size_t{1} << 20;          ///< of the ring: rounded up to a power of two, taken at once
  std::chrono::nanoseconds spin = WaitPoint::kSpin;  ///< how long a waiter looks before it sleeps
};

/// Where one message of a RecordQueue goes: called at most once, while the message still is in the queue.
class RecordSink {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, RecordSink>)
  RecordSink(F&& take)  // NOLINT(google-explicit-constructor): a view of a callable, made in the call
      : object_(&take), call_([](void* object, std::span<const std::byte> payload) {
          (*static_cast<std::remove_reference_t<F>*>(object))(payload);
        }) {}
  void operator()(std::span<const std::byte> payload) const { call_(object_, payload); }

 private:
  void* object_;
  void (*call_)(void*, std::span<const std::byte>);
};

/// Messages of bytes in a ring in shared memory: many producers, many consumers, first in, first out.
///
/// It lies in a Segment of its own, made before the fork and inherited. A message takes its size and 8 bytes of the
/// ring, rounded up to 8. What is larger than 16 KiB or a quarter of the ring is put into the shared heap, and takes
/// 16: the ring does not bound how much memory these take, `capacity` does.
///
/// A process may be killed at any instant in here: it neither blocks the others nor loses or doubles a message. Putting
/// and taking are one atomic store each: before it the message was never there, or still is. Blocks of the heap may
/// leak then, at most those of one message, but are never freed early. A message keeps its shares in its blocks until
/// it is taken; a queue that is destroyed with messages in it keeps them for good.
///
/// Sharing: processes of one family and threads. Owns: the Segment; a handle is not to be moved while in use.
class RecordQueue {
 public:
  /// Throws: UsageError for a ring of more than 8 GiB or a capacity of 2^31 messages; what Segment::create throws.
  explicit RecordQueue(QueueOptions options = {});
  RecordQueue(RecordQueue&&) noexcept = default;
  RecordQueue& operator=(RecordQueue&&) noexcept = default;
  ~RecordQueue() = default;

  /// Puts a message; false when there was no room in time. The caller holds a share in each block meanwhile.
  ///
  /// Throws: ClosedError; SystemError(ENOMEM) when the heap has no room for a large one.
  bool put(std::span<const std::byte> payload, std::span<const BlockId> blocks, Deadline deadline);

  /// Calls `sink` with the oldest message and takes it away. False when there was none in time, or none is left and the
  /// queue is closed. A message whose sink throws is taken away, too. The sink must not use this queue.
  bool get(RecordSink sink, Deadline deadline);

  /// Waits until there is a message to take, or the queue is closed. True when there is a message.
  bool wait_for_message(Deadline deadline);

  /// From now on nothing can be put; what is in it can be taken. Wakes whoever waits. Safe in a signal handler.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] bool full() const noexcept;  ///< by messages; a long one may wait for room before that

  /// How many messages were ever put or taken, modulo 2^31.
  [[nodiscard]] std::uint32_t times_put() const noexcept;
  [[nodiscard]] std::uint32_t times_taken() const noexcept;

  /// Tells that one more of the messages taken has been dealt with. Throws: UsageError for more than were taken.
  void task_done();
  /// Waits until all messages ever put have been dealt with; false when they were not in time.
  bool wait_until_done(Deadline deadline);

 private:
  struct Header;
  struct Record;
  struct Message;

  [[nodiscard]] Header& header() const noexcept { return *reinterpret_cast<Header*>(segment_.data()); }
  [[nodiscard]] Record& record_at(std::uint32_t position) const noexcept;
  [[nodiscard]] std::uint32_t place_for(std::uint32_t position, std::uint32_t units) const noexcept;
  [[nodiscard]] bool has_room(std::uint64_t tail, std::uint64_t head, std::uint32_t units) const noexcept;
  bool put(const Message& message, Deadline deadline);
  bool try_put(const Message& message);
  void take(RecordSink sink, std::uint64_t head);
  bool wait_for_change(Deadline deadline);

  Segment segment_;
  QueueOptions options_;
  std::uint32_t mask_ = 0;  // of the ring, in units of 8 bytes
};

}  // namespace hogpen
