#include "runtime/sync/semaphore.h"

#include <algorithm>
#include <limits>

#include "runtime/core/error.h"

namespace hogpen {

bool Semaphore::acquire(Deadline deadline) {
  return waiters_.wait(
      [this] {
        std::uint32_t value = value_.load();
        while (value > 0) {
          if (value_.compare_exchange_weak(value, value - 1)) return true;
        }
        return false;
      },
      deadline);
}

void Semaphore::release(std::uint32_t count) {
  std::uint32_t value = value_.load();
  do {
    require(value <= std::numeric_limits<std::uint32_t>::max() - count,
            "a semaphore of {} must not be released {} times: the number would pass 2^32", value, count);
  } while (!value_.compare_exchange_weak(value, value + count));
  waiters_.notify();
}

BoundedSemaphore::BoundedSemaphore(std::uint32_t permits) : permits_(permits) {
  require(permits >= 1 && permits <= kMostPermits, "a bounded semaphore must have 1 to {} permits, not {}",
          kMostPermits, permits);
  (void)my_life();  // Here begins the family of those who will hold them.
}

std::optional<BoundedSemaphore::Permit> BoundedSemaphore::acquire(Deadline deadline) {
  const Life mine = my_life();
  std::optional<std::uint32_t> place;
  for (;;) {
    const Deadline slice = std::min(deadline, Deadline::after(WaitPoint::kLongestSleep));
    if (waiters_.wait([&] { return (place = take(Life::none, mine)).has_value(); }, slice)) {
      return Permit(this, *place, false);
    }
    if ((place = take_from_the_dead(mine))) return Permit(this, *place, true);
    if (deadline.has_passed()) return std::nullopt;
  }
}

std::optional<std::uint32_t> BoundedSemaphore::take(Life expected, Life mine) noexcept {
  for (std::uint32_t place = 0; place < permits_; ++place) {
    Life holder = expected;
    if (holders_[place].load() == expected && holders_[place].compare_exchange_strong(holder, mine)) return place;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> BoundedSemaphore::take_from_the_dead(Life mine) {
  for (std::uint32_t place = 0; place < permits_; ++place) {
    Life holder = holders_[place].load();
    if (holder != Life::none && !is_alive(holder) && holders_[place].compare_exchange_strong(holder, mine)) {
      return place;
    }
  }
  return std::nullopt;
}

void BoundedSemaphore::give_back(std::uint32_t place) noexcept {
  holders_[place].store(Life::none);
  waiters_.notify();
}

std::uint32_t BoundedSemaphore::value() const noexcept {
  return static_cast<std::uint32_t>(
      std::count_if(holders_, holders_ + permits_, [](const auto& holder) { return holder.load() == Life::none; }));
}

}  // namespace hogpen
