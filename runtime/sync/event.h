#pragma once

#include <atomic>

#include "runtime/sync/wait_point.h"

namespace hogpen {

/// A flag that can be waited for. Place it in shared memory.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Event {
 public:
  void set() noexcept {
    is_set_.store(1);
    waiters_.notify();
  }
  void clear() noexcept { is_set_.store(0); }
  [[nodiscard]] bool is_set() const noexcept { return is_set_.load() != 0; }
  /// Waits until it is set: false when the deadline passed first.
  bool wait(Deadline deadline = Deadline::never()) {
    return waiters_.wait([this] { return is_set(); }, deadline);
  }

 private:
  std::atomic<std::uint32_t> is_set_{0};
  WaitPoint waiters_;
};

}  // namespace hogpen
