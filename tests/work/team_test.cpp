#include "runtime/work/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

TEST(Team, EachThreadRunsTheBodyOnceARound) {
  for (const int threads : {1, 2, 5}) {
    Team team(threads);
    EXPECT_EQ(team.threads(), static_cast<std::size_t>(threads));
    std::vector<int> calls(static_cast<std::size_t>(threads), 0);  // not atomic: each has its own
    for (int round = 0; round < 1000; ++round) team.run([&](std::size_t i) { ++calls[i]; });
    EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(threads), 1000));
  }
}

TEST(Team, RunReturnsWhenTheSlowestIsDone) {
  Team team(3);
  std::atomic<int> done{0};
  team.run([&](std::size_t i) {
    if (i != 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++done;
  });
  EXPECT_EQ(done.load(), 3);
}

TEST(Team, HelpersThatSleptComeBack) {
  Team team(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(70));  // longer than they look before they sleep
    std::atomic<int> done{0};
    team.run([&](std::size_t) { ++done; });
    EXPECT_EQ(done.load(), 2);
  }
}

TEST(Team, EndsWithoutARound) {
  const Team team(4);
}

TEST(Team, NeedsAThread) {
  EXPECT_THROW(Team(0), UsageError);
}

}  // namespace
}  // namespace hogpen
