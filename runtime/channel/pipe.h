#pragma once

#include <optional>
#include <utility>

#include "runtime/channel/pipe_end.h"
#include "runtime/channel/queue.h"

namespace hogpen {

/// One end of a pipe between two processes, made by `pipe` before the fork.
///
/// It belongs to the process that uses it first. That one's death, however it comes, is the end of file for the other
/// end, as soon as all that was sent has been received; so is its last copy of the end being destroyed, and the death
/// of everybody who could have used it first. Whoever waits notices a death within 50 ms. In a process with several
/// threads an end that was never used must be destroyed to count as gone, because another thread may still use it.
///
/// Sharing: as PipeEnd. Owns: a share of the pipe.
template <class T>
class Connection {
 public:
  explicit Connection(PipeEnd end) : end_(std::move(end)) {}

  /// False when there was no room in time. Throws: ClosedError when the other end is closed or its process dead (which
  /// is noticed a millisecond later at the latest); UsageError when this end belongs to another process, or only
  /// receives.
  bool send(const T& value, Deadline deadline = Deadline::never()) {
    return detail::put_value<T>(end_, value, deadline);
  }
  /// Empty at the deadline, or at the end of file: then `is_open()` is false. Throws: UsageError when this end belongs
  /// to another process, or only sends.
  std::optional<T> recv(Deadline deadline = Deadline::never()) { return detail::get_value<T>(end_, deadline); }
  /// Whether there is something to receive in time.
  bool poll(Deadline deadline = Deadline::after({})) { return end_.poll(deadline); }

  /// The other end can receive what was sent, and then finds the end of file. Wakes whoever waits at either end.
  void close() noexcept { end_.close(); }
  /// Whether neither end is closed and somebody is at the other, or may still come.
  [[nodiscard]] bool is_open() const { return end_.is_open(); }

 private:
  PipeEnd end_;
};

/// Two connected ends. Each process destroys, or does not use, the one that is not its own.
///
/// Throws: what RecordQueue throws.
template <class T>
[[nodiscard]] std::pair<Connection<T>, Connection<T>> pipe(const PipeOptions& options = {}) {
  auto [first, second] = PipeEnd::make(options);
  return {Connection<T>(std::move(first)), Connection<T>(std::move(second))};
}

}  // namespace hogpen
