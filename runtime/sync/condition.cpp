#include "runtime/sync/condition.h"

#include <algorithm>

namespace hogpen {

bool Condition::wait(Mutex::Guard& guard, Deadline deadline) {
  const std::uint32_t before = notified_.load();
  ::pthread_mutex_unlock(guard.mutex_);
  // The lock is taken again also on the way out of an exception.
  struct Relock {
    Mutex::Guard& guard;
    ~Relock() { guard.previous_owner_died_ |= *Mutex::acquire(guard.mutex_, Deadline::never()); }
  } relock{guard};
  const Deadline slice = std::min(deadline, Deadline::after(WaitPoint::kLongestSleep));
  return waiters_.wait([&] { return notified_.load() != before; }, slice) || !deadline.has_passed();
}

}  // namespace hogpen
