#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "runtime/core/error.h"
#include "runtime/core/life.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

/// A Barrier will never let its parties pass: one of them died, gave up, or called `break_for_all`.
class BrokenBarrierError : public Error {
 public:
  using Error::Error;
};

/// A point that a fixed number of processes or threads pass together, again and again. Place it in shared memory.
///
/// A party that dies never arrives: the others notice it within 50 ms, and the barrier breaks for all of them.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Barrier {
 public:
  /// More parties can share a barrier, but the deaths of only so many processes are noticed.
  static constexpr std::uint32_t kMostWatched = 256;

  /// Throws: UsageError for no parties.
  explicit Barrier(std::uint32_t parties);

  /// Announces this process as a party: from now on its death is noticed, and not only from its first arrival on.
  void join();

  enum class Passed { yes, timed_out, broken };

  /// Waits until all parties have arrived. After anything but `yes` the barrier is broken, for everyone.
  [[nodiscard]] Passed arrive_and_wait(Deadline deadline);
  /// The same, for whom a broken barrier is an error: false when the deadline passed first.
  ///
  /// Throws: BrokenBarrierError, with the pid of the party that died if one did.
  bool wait(Deadline deadline = Deadline::never());

  /// Lets everyone who waits, now or later, go with `broken`. Safe in a signal handler.
  void break_for_all() noexcept;
  /// Makes it as new, also the list of parties. Requires: nobody waits.
  void reset() noexcept;

  [[nodiscard]] std::uint32_t parties() const noexcept { return parties_; }
  [[nodiscard]] std::uint32_t waiting() const noexcept { return arrived_.load(); }
  [[nodiscard]] bool is_broken() const noexcept { return why_broken_.load() != kWhole; }

 private:
  // Why it broke: one of these, or the pid of the party that died.
  static constexpr std::int32_t kWhole = 0;
  static constexpr std::int32_t kByCall = -1;
  static constexpr std::int32_t kByDeadline = -2;

  // A process that has come here: its Life above the 22 bits of its pid.
  using Party = std::atomic<std::uint64_t>;
  static constexpr int kPidBits = 22;  // the kernel's PID_MAX_LIMIT

  void look_for_the_dead();
  void break_because(std::int32_t why) noexcept;

  // Invariants: 1. arrived_ < parties_ between calls. 2. generation_ grows by one when the last party arrives, and only
  // then does anyone leave with `yes`. 3. Once why_broken_ is set it stays set, until `reset`.
  std::uint32_t parties_;
  std::atomic<std::uint32_t> arrived_{0};
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::int32_t> why_broken_{kWhole};
  WaitPoint waiters_;
  Party watched_[kMostWatched]{};
};

}  // namespace hogpen
