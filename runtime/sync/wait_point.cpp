#include "runtime/sync/wait_point.h"

namespace hogpen {

void WaitPoint::wake(std::uint32_t word) noexcept {
  // One of several notifiers takes the bit away and wakes; who waits on sets it anew.
  while ((word & kSleepers) != 0) {
    if (!word_.compare_exchange_weak(word, word + 1)) continue;  // word + 1: the bit cleared, one more wake-up counted
    futex_wake_all(word_);
    return;
  }
}

void WaitPoint::sleep(std::uint32_t seen, Deadline deadline) {
  futex_wait(word_, seen, std::min(deadline, Deadline::after(kLongestSleep)));
}

}  // namespace hogpen
