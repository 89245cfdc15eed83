#pragma once

#include <cstdint>

#include "runtime/sync/futex.h"

namespace hogpen {

/// A point that a fixed number of processes or threads pass together, again and again. Place it in shared memory.
///
/// A party that dies never arrives: whoever notices breaks the barrier, and everyone who waits is told.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Barrier {
 public:
  explicit Barrier(std::uint32_t parties) noexcept : parties_(parties) {}

  enum class Passed { yes, timed_out, broken };

  /// Waits until all parties have arrived. After anything but `yes` the barrier is of no more use.
  [[nodiscard]] Passed arrive_and_wait(Deadline deadline);

  /// Lets everyone who waits, now or later, go with `broken`. Safe in a signal handler.
  void break_for_all() noexcept;

 private:
  // Invariants: 1. arrived_ < parties_ between calls. 2. generation_ grows by one when the last party arrives, and only
  // then does anyone leave with `yes`. 3. Once broken_ is set it stays set.
  std::uint32_t parties_;
  std::atomic<std::uint32_t> arrived_{0};
  FutexWord generation_{0};
  std::atomic<std::uint32_t> broken_{0};
};

}  // namespace hogpen
