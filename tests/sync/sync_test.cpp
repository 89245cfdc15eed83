#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/sync/barrier.h"
#include "runtime/sync/condition.h"
#include "runtime/sync/futex.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(Futex, ReturnsAtOnceWhenTheWordHasChanged) {
  FutexWord word{1};
  const auto began = std::chrono::steady_clock::now();
  futex_wait(word, 0, Deadline::after(30s));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
}

TEST(Futex, ReturnsWhenTheDeadlinePasses) {
  FutexWord word{0};
  const Deadline deadline = Deadline::after(20ms);
  while (!deadline.has_passed()) futex_wait(word, 0, deadline);
  SUCCEED();
}

TEST(Futex, IsWokenByAnotherThread) {
  FutexWord word{0};
  std::thread waker([&] {
    word.store(1);
    futex_wake_all(word);
  });
  while (word.load() == 0) futex_wait(word, 0, Deadline::never());
  waker.join();
}

TEST(Mutex, LetsOneAtATimeIn) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 5000;
  Mutex mutex;
  int count = 0;  // Not atomic: the lock is what makes it right, and TSan looks on.
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const auto guard = mutex.lock(Deadline::never());
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count, kThreads * kRounds);
}

TEST(Mutex, GivesNothingWhenItDoesNotComeFreeInTime) {
  Mutex mutex;
  const auto guard = mutex.lock(Deadline::never());
  std::thread other([&] { EXPECT_FALSE(mutex.lock(Deadline::after(20ms)).has_value()); });
  other.join();
}

TEST(Mutex, RefusesTheThreadThatHoldsIt) {
  Mutex mutex;
  const auto guard = mutex.lock(Deadline::never());
  EXPECT_THROW((void)mutex.lock(Deadline::never()), SystemError);
}

TEST(Mutex, OfRecursiveKindIsFreeAfterAsManyUnlocks) {
  Mutex mutex(Mutex::Kind::recursive);
  const auto is_free = [&] {
    bool free = false;
    std::thread([&] { free = mutex.lock(Deadline::after(0ms)).has_value(); }).join();
    return free;
  };
  {
    const auto outer = mutex.lock();
    {
      const auto inner = mutex.lock();
      EXPECT_FALSE(is_free());
    }
    EXPECT_FALSE(is_free());
  }
  EXPECT_TRUE(is_free());
}

TEST(Condition, WakesWhoWaitsForWhatTheLockProtects) {
  constexpr int kItems = 2'000;
  Mutex mutex;
  Condition changed;
  int items = 0;  // Not atomic: the lock is what makes it right, and TSan looks on.
  std::thread producer([&] {
    for (int i = 0; i < kItems; ++i) {
      const auto guard = mutex.lock();
      ++items;
      changed.notify_all();
    }
  });
  int taken = 0;
  while (taken < kItems) {
    auto guard = mutex.lock();
    ASSERT_TRUE(changed.wait(guard, [&] { return items > 0; }, Deadline::after(30s)));
    taken += std::exchange(items, 0);
  }
  producer.join();
  EXPECT_EQ(taken, kItems);
}

TEST(Condition, HoldsTheLockAgainWhenTheDeadlineHasPassed) {
  Mutex mutex;
  Condition changed;
  auto guard = mutex.lock();
  EXPECT_FALSE(changed.wait(guard, Deadline::after(10ms)));
  std::thread other([&] { EXPECT_FALSE(mutex.lock(Deadline::after(0ms)).has_value()); });
  other.join();
}

TEST(Barrier, LetsNobodyPassBeforeTheLastHasCome) {
  constexpr int kParties = 4;
  constexpr int kRounds = 200;
  Barrier barrier(kParties);
  std::atomic<int> arrived{0};
  std::atomic<int> too_early{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kParties; ++i) {
    threads.emplace_back([&] {
      for (int round = 1; round <= kRounds; ++round) {
        ++arrived;
        ASSERT_EQ(barrier.arrive_and_wait(Deadline::never()), Barrier::Passed::yes);
        if (arrived.load() < round * kParties) ++too_early;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(too_early.load(), 0);
  EXPECT_EQ(arrived.load(), kParties * kRounds);
}

TEST(Barrier, OfOnePassesAtOnce) {
  Barrier barrier(1);
  EXPECT_EQ(barrier.arrive_and_wait(Deadline::after(0ms)), Barrier::Passed::yes);
}

TEST(Barrier, TellsWhenThePartiesDoNotCome) {
  Barrier barrier(2);
  EXPECT_EQ(barrier.arrive_and_wait(Deadline::after(20ms)), Barrier::Passed::timed_out);
}

TEST(Barrier, LetsWaitersGoWhenItIsBroken) {
  Barrier barrier(2);
  std::thread waiter([&] { EXPECT_EQ(barrier.arrive_and_wait(Deadline::never()), Barrier::Passed::broken); });
  std::this_thread::sleep_for(20ms);
  barrier.break_for_all();
  waiter.join();
  EXPECT_EQ(barrier.arrive_and_wait(Deadline::never()), Barrier::Passed::broken);
  EXPECT_THROW(barrier.wait(), BrokenBarrierError);
  barrier.reset();
  EXPECT_FALSE(barrier.is_broken());
  EXPECT_FALSE(barrier.wait(Deadline::after(0ms)));
}

TEST(Barrier, IsBrokenForAllOnceOneHasGivenUp) {
  Barrier barrier(2);
  EXPECT_FALSE(barrier.wait(Deadline::after(10ms)));
  EXPECT_THROW(barrier.wait(), BrokenBarrierError);
}

TEST(Barrier, RefusesToHaveNoParties) {
  EXPECT_THROW(Barrier(0), UsageError);
}

}  // namespace
}  // namespace hogpen
