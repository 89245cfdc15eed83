#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/sync/counter.h"
#include "runtime/sync/event.h"
#include "runtime/sync/semaphore.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(Semaphore, CountsDownToNothing) {
  Semaphore semaphore(2);
  EXPECT_TRUE(semaphore.acquire(Deadline::after(0ms)));
  EXPECT_TRUE(semaphore.acquire(Deadline::after(0ms)));
  EXPECT_FALSE(semaphore.acquire(Deadline::after(10ms)));
  semaphore.release();
  EXPECT_EQ(semaphore.value(), 1u);
  EXPECT_TRUE(semaphore.acquire());
}

TEST(Semaphore, GivesEachReleaseToOneOfManyThreads) {
  constexpr int kThreads = 4;
  constexpr std::uint32_t kEach = 2'000;
  Semaphore semaphore(0);
  std::atomic<std::uint32_t> acquired{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (std::uint32_t n = 0; n < kEach; ++n) acquired += semaphore.acquire(Deadline::after(30s));
    });
  }
  for (std::uint32_t n = 0; n < kThreads * kEach / 2; ++n) semaphore.release(2);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(acquired.load(), kThreads * kEach);
  EXPECT_EQ(semaphore.value(), 0u);
}

TEST(Semaphore, RefusesToCountPastItsRange) {
  Semaphore semaphore(0xffffffffu);
  EXPECT_THROW(semaphore.release(), UsageError);
  EXPECT_EQ(semaphore.value(), 0xffffffffu);
}

TEST(BoundedSemaphore, LetsSoManyInAndNoMore) {
  BoundedSemaphore semaphore(2);
  const auto first = semaphore.acquire();
  {
    const auto second = semaphore.acquire();
    EXPECT_EQ(semaphore.value(), 0u);
    EXPECT_FALSE(semaphore.acquire(Deadline::after(10ms)).has_value());
  }
  EXPECT_EQ(semaphore.value(), 1u);
  EXPECT_TRUE(semaphore.acquire(Deadline::after(0ms)).has_value());
}

TEST(BoundedSemaphore, NeverHasMoreHoldersThanPermits) {
  constexpr int kPermits = 2;
  BoundedSemaphore semaphore(kPermits);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2'000; ++round) {
        const auto permit = semaphore.acquire();
        const int now = ++inside;
        if (now > most.load()) most.store(now);
        --inside;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most.load(), kPermits);
  EXPECT_EQ(semaphore.value(), static_cast<std::uint32_t>(kPermits));
}

TEST(BoundedSemaphore, RefusesNoneAndTooManyPermits) {
  EXPECT_THROW(BoundedSemaphore(0), UsageError);
  EXPECT_THROW(BoundedSemaphore(BoundedSemaphore::kMostPermits + 1), UsageError);
}

TEST(Event, IsWaitedForUntilItIsSet) {
  Event event;
  EXPECT_FALSE(event.wait(Deadline::after(10ms)));
  std::thread setter([&] { event.set(); });
  EXPECT_TRUE(event.wait(Deadline::after(30s)));
  setter.join();
  EXPECT_TRUE(event.is_set());
  event.clear();
  EXPECT_FALSE(event.wait(Deadline::after(0ms)));
}

TEST(Counter, GivesEachNumberOnce) {
  constexpr std::uint64_t kEach = 10'000;
  Counter counter(7);
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (std::uint64_t n = 0; n < kEach; ++n) sum += counter.add();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 7 + 4 * kEach);
  EXPECT_EQ(sum.load(), 4 * kEach * 7 + 4 * kEach * (4 * kEach - 1) / 2);
}

}  // namespace
}  // namespace hogpen
