#include "runtime/sync/barrier.h"

namespace hogpen {

Barrier::Passed Barrier::arrive_and_wait(Deadline deadline) {
  const std::uint32_t generation = generation_.load();
  if (broken_.load()) return Passed::broken;
  if (arrived_.fetch_add(1) + 1 == parties_) {
    // Relaxed: the next party to arrive has read generation_ after the increment below.
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1);
    futex_wake_all(generation_);
    return Passed::yes;
  }
  while (generation_.load() == generation) {
    if (broken_.load()) return Passed::broken;
    if (deadline.has_passed()) return Passed::timed_out;
    futex_wait(generation_, generation, deadline);
  }
  return broken_.load() ? Passed::broken : Passed::yes;
}

void Barrier::break_for_all() noexcept {
  broken_.store(1);
  generation_.fetch_add(1);
  futex_wake_all(generation_);
}

}  // namespace hogpen
