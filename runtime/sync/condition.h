#pragma once

#include <atomic>

#include "runtime/sync/mutex.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

/// Where the holder of a Mutex waits until somebody else has changed what the Mutex protects. Place it in shared
/// memory.
///
/// A wait may end without a reason, and does so at least every 50 ms, because a notifier may have been killed between
/// its change and its `notify_all`: give it the condition, or look again. A waiter or notifier that dies takes nobody
/// along; a Mutex whose holder died is taken over, and the Guard tells, from then on.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Condition {
 public:
  /// Lets go of the lock, waits to be notified, and takes the lock again, however long that takes. False when the
  /// deadline passed first. Requires: a recursive Mutex is held once.
  bool wait(Mutex::Guard& guard, Deadline deadline = Deadline::never());
  /// Waits until `ready()`, which is called with the lock held: false when the deadline passed first.
  template <class Ready>
  bool wait(Mutex::Guard& guard, Ready ready, Deadline deadline = Deadline::never()) {
    while (!ready()) {
      if (!wait(guard, deadline)) return ready();
    }
    return true;
  }

  /// Wakes everyone who waits. There is no notify_one: to wake one alone would lose the wake-up if just that one were
  /// killed.
  void notify_all() noexcept {
    notified_.fetch_add(1);
    waiters_.notify();
  }

 private:
  std::atomic<std::uint32_t> notified_{0};
  WaitPoint waiters_;
};

}  // namespace hogpen
