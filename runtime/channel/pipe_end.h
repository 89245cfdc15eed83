#pragma once

#include <memory>
#include <span>
#include <utility>

#include "runtime/channel/record_queue.h"

namespace hogpen {

struct PipeOptions {
  bool duplex = true;                                ///< false: the first end only receives, the second only sends
  std::size_t bytes = std::size_t{1} << 16;          ///< of the ring of either direction
  std::chrono::nanoseconds spin = WaitPoint::kSpin;  ///< how long a waiter looks before it sleeps
};

/// One of the two ends of a pipe, for messages of bytes: see `Connection`.
///
/// Sharing: processes of one family and threads; copies are handles to the same end. Owns: a share of the pipe.
class PipeEnd {
 public:
  [[nodiscard]] static std::pair<PipeEnd, PipeEnd> make(const PipeOptions& options);

  /// False when there was no room in time. Throws: ClosedError, UsageError, and what `RecordQueue::put` throws.
  bool put(std::span<const std::byte> payload, std::span<const BlockId> blocks, Deadline deadline);
  /// As `RecordQueue::get`; false also when the other end is gone and nothing is left. Throws: UsageError.
  bool get(RecordSink sink, Deadline deadline);
  /// Whether a message is there in time.
  bool poll(Deadline deadline);
  void close() noexcept;
  /// Whether neither end is closed and the other has not gone.
  [[nodiscard]] bool is_open() const;

 private:
  struct Pipe;
  struct Handle;
  explicit PipeEnd(std::shared_ptr<Handle> handle) : handle_(std::move(handle)) {}

  std::shared_ptr<Handle> handle_;
};

}  // namespace hogpen
