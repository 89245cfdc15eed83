#include "runtime/sync/barrier.h"

#include <unistd.h>

#include <algorithm>

namespace hogpen {

Barrier::Barrier(std::uint32_t parties) : parties_(parties) {
  require(parties > 0, "a barrier must have at least one party");
  (void)my_life();  // Here begins the family of its parties.
}

Barrier::Passed Barrier::arrive_and_wait(Deadline deadline) {
  join();
  const std::uint32_t generation = generation_.load();
  if (is_broken()) return Passed::broken;
  if (arrived_.fetch_add(1) + 1 == parties_) {
    // Relaxed: the next party to arrive has read generation_ after the increment below.
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1);
    waiters_.notify();
    return Passed::yes;
  }
  const auto is_over = [&] { return generation_.load() != generation || is_broken(); };
  while (!waiters_.wait(is_over, std::min(deadline, Deadline::after(WaitPoint::kLongestSleep)))) {
    if (deadline.has_passed()) {
      break_because(kByDeadline);
      return generation_.load() != generation ? Passed::yes : Passed::timed_out;
    }
    look_for_the_dead();
  }
  return generation_.load() != generation ? Passed::yes : Passed::broken;
}

bool Barrier::wait(Deadline deadline) {
  const Passed passed = arrive_and_wait(deadline);
  if (passed != Passed::broken) return passed == Passed::yes;
  const std::int32_t why = why_broken_.load();
  if (why > 0) throw BrokenBarrierError(fmt::format("the barrier is broken: its party with pid {} died", why));
  throw BrokenBarrierError(why == kByDeadline ? "the barrier is broken: the deadline of one of its parties passed"
                                              : "the barrier is broken: break_for_all was called");
}

void Barrier::break_for_all() noexcept {
  break_because(kByCall);
}

void Barrier::break_because(std::int32_t why) noexcept {
  std::int32_t whole = kWhole;
  why_broken_.compare_exchange_strong(whole, why);
  waiters_.notify();
}

void Barrier::reset() noexcept {
  for (Party& party : watched_) party.store(0);
  arrived_.store(0);
  why_broken_.store(kWhole);
}

void Barrier::join() {
  const std::uint64_t mine = static_cast<std::uint64_t>(my_life()) << kPidBits | static_cast<std::uint64_t>(::getpid());
  for (Party& party : watched_) {
    std::uint64_t known = party.load();
    if (known == 0 && party.compare_exchange_strong(known, mine)) return;
    if (known == mine) return;
  }
}

void Barrier::look_for_the_dead() {
  for (const Party& party : watched_) {
    const std::uint64_t known = party.load();
    if (known == 0) return;
    // One that died after it had let all others pass has broken nothing, but it will not come to the next round.
    if (is_alive(static_cast<Life>(known >> kPidBits))) continue;
    return break_because(static_cast<std::int32_t>(known & ((1u << kPidBits) - 1)));
  }
}

}  // namespace hogpen
