#include "runtime/work/team.h"

#include <sched.h>

#include "runtime/core/error.h"
#include "runtime/process/affinity.h"

namespace hogpen {

namespace {

// Of Team::round_, from the lowest bit: helpers that have joined, closed, number.
constexpr std::uint64_t kJoined = 0xffff;
constexpr std::uint64_t kClosed = 0x10000;
constexpr std::uint64_t kNumber = ~(kJoined | kClosed);
constexpr std::uint64_t kNextNumber = 0x20000;

std::size_t checked(int threads) {
  require(threads >= 1 && static_cast<std::uint64_t>(threads) <= kJoined,
          "a Team must have between 1 and {} threads, not {}", kJoined, threads);
  return static_cast<std::size_t>(threads);
}

}  // namespace

Team::Team(int threads) : cpus_(allowed_cpus()), shares_(checked(threads)) {
  try {
    for (std::size_t i = 1; i < shares_.size(); ++i) helpers_.emplace_back([this, i] { help(i); });
  } catch (...) {
    end();
    throw;
  }
}

Team::~Team() {
  end();
}

void Team::end() {
  run_round(nullptr, nullptr, Wait::for_everyone);
  for (std::thread& helper : helpers_) helper.join();
}

void Team::run_round(Call call, const void* body, Wait wait) {
  call_ = call;
  body_ = body;
  callers_cpu_ = ::sched_getcpu();
  done_.store(0, std::memory_order_relaxed);  // published, as the three above, by the round
  round_.store((round_.load(std::memory_order_relaxed) & kNumber) + kNextNumber, std::memory_order_release);
  begin_.notify();
  if (call != nullptr) call(body, 0);
  const std::uint64_t joined =
      wait == Wait::for_everyone ? helpers_.size() : round_.fetch_or(kClosed, std::memory_order_relaxed) & kJoined;
  end_.wait([&] { return done_.load(std::memory_order_acquire) == joined; }, Deadline::never());
}

// Waits for a round that is open, and joins it: false when another helper came between.
bool Team::join_round(std::uint64_t& last_round) {
  std::uint64_t round = 0;
  begin_.wait(
      [&] {
        round = round_.load(std::memory_order_relaxed);
        return (round & kNumber) != last_round && (round & kClosed) == 0;
      },
      Deadline::never());
  if (!round_.compare_exchange_strong(round, round + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
    return false;
  }
  last_round = round & kNumber;
  return true;
}

void Team::help(std::size_t i) {
  std::uint64_t last_round = 0;
  for (;;) {
    if (!join_round(last_round)) continue;
    const Call call = call_;
    if (call != nullptr) {
      // A scheduler may wake a helper on the very CPU that the caller keeps busy.
      if (shares_.size() <= cpus_.size()) leave_cpu(callers_cpu_, cpus_);
      call(body_, i);
    }
    done_.fetch_add(1, std::memory_order_release);
    end_.notify();
    if (call == nullptr) return;
  }
}

}  // namespace hogpen
