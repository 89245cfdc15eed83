#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "runtime/core/life.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

/// A number that `acquire` counts down, and waits for while it is 0. Place it in shared memory.
///
/// Whoever likes may release: it counts things that are there, and has no holders. What must come back when its holder
/// dies is a BoundedSemaphore.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Semaphore {
 public:
  explicit Semaphore(std::uint32_t value = 1) noexcept : value_(value) {}

  /// Waits until it can take one: false when the deadline passed first.
  bool acquire(Deadline deadline = Deadline::never());
  /// Throws: UsageError when the number would pass 2^32 - 1.
  void release(std::uint32_t count = 1);
  [[nodiscard]] std::uint32_t value() const noexcept { return value_.load(); }

 private:
  std::atomic<std::uint32_t> value_;
  WaitPoint waiters_;
};

/// Lets a fixed number of holders in at a time, and notices when one of them dies: its permit is free again, and who
/// gets it is told. Place it in shared memory.
///
/// Sharing: processes and threads; a Permit belongs to the process that acquired it. Owns: nothing outside its own
/// bytes.
class BoundedSemaphore {
 public:
  static constexpr std::uint32_t kMostPermits = 256;

  /// Throws: UsageError unless there are 1 to kMostPermits.
  explicit BoundedSemaphore(std::uint32_t permits);

  class Permit {
   public:
    Permit(Permit&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), place_(other.place_), holder_died_(other.holder_died_) {}
    Permit& operator=(Permit&&) = delete;
    ~Permit() {
      if (owner_) owner_->give_back(place_);
    }
    /// Whether its last holder died with it: what it guards may be half done.
    [[nodiscard]] bool previous_holder_died() const noexcept { return holder_died_; }

   private:
    friend class BoundedSemaphore;
    Permit(BoundedSemaphore* owner, std::uint32_t place, bool holder_died) noexcept
        : owner_(owner), place_(place), holder_died_(holder_died) {}
    BoundedSemaphore* owner_;
    std::uint32_t place_;
    bool holder_died_;
  };

  /// Waits for a permit; nothing in time is no value.
  [[nodiscard]] std::optional<Permit> acquire(Deadline deadline);
  /// Waits for a permit as long as it takes.
  [[nodiscard]] Permit acquire() { return *acquire(Deadline::never()); }
  /// How many permits are free. One whose holder died counts once somebody has waited for it.
  [[nodiscard]] std::uint32_t value() const noexcept;

 private:
  std::optional<std::uint32_t> take(Life expected, Life mine) noexcept;
  std::optional<std::uint32_t> take_from_the_dead(Life mine);
  void give_back(std::uint32_t place) noexcept;

  // A place is a permit, and the number in it is its holder: to take it is one compare-exchange, so a death never comes
  // in between.
  std::uint32_t permits_;
  WaitPoint waiters_;
  std::atomic<Life> holders_[kMostPermits]{};
};

}  // namespace hogpen
