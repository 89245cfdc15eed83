#include "runtime/work/team.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
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

TEST(Team, EachPieceIsDoneOnce) {
  for (const int threads : {1, 2, 3}) {
    Team team(threads);
    for (const std::size_t pieces : {0U, 1U, 2U, 3U, 1000U}) {
      std::vector<int> done(pieces, 0);  // not atomic: each piece has its own
      for (int round = 0; round < 50; ++round) team.for_each(pieces, [&](std::size_t piece) { ++done[piece]; });
      EXPECT_EQ(done, std::vector<int>(pieces, 50));
    }
  }
}

TEST(Team, WhoIsDoneHelpsTheOthers) {
  Team team(2);
  constexpr std::size_t kPieces = 40;
  std::atomic<std::size_t> done{0};
  // The first piece of one share lasts until all the others are done, those of its own share too.
  team.for_each(kPieces, [&](std::size_t piece) {
    if (piece == 0) {
      while (done.load() != kPieces - 1) std::this_thread::yield();
    }
    ++done;
  });
  EXPECT_EQ(done.load(), kPieces);
}

TEST(Team, EndsWithoutARound) {
  const Team team(4);
}

// In a child, which may have no more memory than it has.
TEST(TeamThatCannotStart, EndsTheThreadsThatItHas) {
#ifdef HOGPEN_SANITIZED
  GTEST_SKIP() << "the sanitizer itself needs more address space";
#endif
  const pid_t child = ::fork();
  if (child == 0) {
    rlimit none{.rlim_cur = 256 << 20, .rlim_max = 256 << 20};  // each thread wants 8 MiB for its stack
    if (::setrlimit(RLIMIT_AS, &none) != 0) ::_exit(2);
    try {
      const Team team(1000);
    } catch (const std::exception&) {
      ::_exit(0);
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Team, NeedsAThread) {
  EXPECT_THROW(Team(0), UsageError);
}

}  // namespace
}  // namespace hogpen
