#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "runtime/sync/futex.h"

namespace hogpen {

/// Where processes and threads wait until something in shared memory has come about. Place it beside that something.
///
/// Who waits looks at the condition for a few microseconds, then sleeps; who makes it true calls `notify`, which costs
/// one load while nobody sleeps. A peer that is killed in here holds nobody up: a sleeper looks again after
/// `kLongestSleep` at the latest.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class WaitPoint {
 public:
  static constexpr std::chrono::microseconds kSpin{25};  ///< longer than a peer that sleeps takes to wake and answer
  static constexpr std::chrono::milliseconds kLongestSleep{50};

  /// Returns once `ready()` is true: false when the deadline passed first. `ready` reads atomics; it may claim what it
  /// finds and is called again only when it returned false.
  template <class Ready>
  bool wait(Ready ready, Deadline deadline, std::chrono::nanoseconds spin = kSpin);

  /// Lets everyone who waits look again. Call it after the condition has been made true. Safe in a signal handler.
  void notify() noexcept {
    // The store that made the condition true must come before this load; `wait` has the counterpart.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    if ((word & kSleepers) != 0) wake(word);
  }

 private:
  static constexpr std::uint32_t kSleepers = 1;  // The bits above count the wake-ups.

  void wake(std::uint32_t word) noexcept;
  // Sleeps unless there was a wake-up since `seen` was read from `announce`.
  void sleep(std::uint32_t seen, Deadline deadline);
  std::uint32_t announce() noexcept {
    const std::uint32_t seen = word_.fetch_or(kSleepers) | kSleepers;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return seen;
  }

  FutexWord word_{0};
};

/// Tells the CPU that this is a loop that waits.
inline void relax_cpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Calls `ready` again and again for so long: true as soon as it is. After a few microseconds it lets others on its CPU
/// run in between: the one that is waited for may be one of them.
template <class Ready>
bool spin_until(Ready& ready, std::chrono::nanoseconds spin) {
  constexpr int kLooksBetweenClockReadings = 16;
  constexpr std::chrono::microseconds kAlone{2};
  if (ready()) return true;
  if (spin <= spin.zero()) return false;
  const auto end = Deadline::after(spin);
  const auto alone_until = Deadline::after(kAlone);
  do {
    for (int look = 0; look < kLooksBetweenClockReadings; ++look) {
      relax_cpu();
      if (ready()) return true;
    }
    if (alone_until.has_passed()) ::sched_yield();
  } while (!end.has_passed());
  return ready();
}

template <class Ready>
bool WaitPoint::wait(Ready ready, Deadline deadline, std::chrono::nanoseconds spin) {
  if (spin_until(ready, std::min<std::chrono::nanoseconds>(spin, deadline.remaining()))) return true;
  for (;;) {
    const std::uint32_t seen = announce();
    if (ready()) return true;
    if (deadline.has_passed()) return false;
    sleep(seen, deadline);
    if (ready()) return true;
  }
}

}  // namespace hogpen
