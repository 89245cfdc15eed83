#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "runtime/sync/wait_point.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(WaitPoint, ReturnsAtOnceWhatIsTrueAlready) {
  WaitPoint point;
  EXPECT_TRUE(point.wait([] { return true; }, Deadline::after(0ms)));
}

TEST(WaitPoint, TellsThatTheDeadlinePassed) {
  WaitPoint point;
  EXPECT_FALSE(point.wait([] { return false; }, Deadline::after(20ms)));
}

TEST(WaitPoint, SeesWhatBecomesTrueWithoutANotify) {
  WaitPoint point;
  std::atomic<bool> flag{false};
  std::thread setter([&] {
    std::this_thread::sleep_for(10ms);
    flag.store(true);
  });
  EXPECT_TRUE(point.wait([&] { return flag.load(); }, Deadline::after(30s)));
  setter.join();
}

// Two threads hand a number back and forth: a wake-up that gets lost shows as a wait of kLongestSleep, and 20,000 of
// them would not end within the time of the test.
TEST(WaitPoint, LosesNoWakeUp) {
  constexpr int kRounds = 20'000;
  WaitPoint point;
  std::atomic<int> turn{0};
  const auto play = [&](int side) {
    for (int round = 0; round < kRounds; ++round) {
      ASSERT_TRUE(point.wait([&] { return turn.load() % 2 == side; }, Deadline::after(30s), 0ns));
      turn.fetch_add(1);
      point.notify();
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  EXPECT_EQ(turn.load(), 2 * kRounds);
}

TEST(WaitPoint, LetsAllWaitersGo) {
  constexpr int kWaiters = 4;
  WaitPoint point;
  std::atomic<bool> go{false};
  std::atomic<int> gone{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&] {
      if (point.wait([&] { return go.load(); }, Deadline::after(30s))) ++gone;
    });
  }
  std::this_thread::sleep_for(20ms);
  go.store(true);
  point.notify();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(gone.load(), kWaiters);
}

}  // namespace
}  // namespace hogpen
