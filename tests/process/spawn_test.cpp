#include "runtime/process/spawn.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "runtime/memory/segment.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kSoon = 30s;

[[noreturn]] void sleep_for_good() {
  for (;;) ::pause();
}

bool has_children() {
  siginfo_t info;
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

// One atomic word for each of eight ranks, shared with the children.
class Words {
 public:
  std::atomic<int>& operator[](int rank) const { return reinterpret_cast<std::atomic<int>*>(segment_.data())[rank]; }

 private:
  Segment segment_ = Segment::create("test", 8 * sizeof(std::atomic<int>));
};

void wait_until_set(const std::atomic<int>& word) {
  while (word.load() == 0) std::this_thread::sleep_for(1ms);
}

TEST(Spawn, EachRankRunsOnceInAProcessOfItsOwn) {
  const Words pids;
  spawn([&](int rank) { pids[rank].fetch_add(::getpid()); }, 4);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_GT(pids[rank].load(), 0);
    for (int other = 0; other < rank; ++other) EXPECT_NE(pids[rank].load(), pids[other].load());
  }
  EXPECT_EQ(pids[4].load(), 0);
  EXPECT_FALSE(has_children());
}

TEST(Spawn, TheContextKnowsPidsAndNames) {
  ProcessContext context = start_processes([](int) { sleep_for_good(); }, 3, {.name = "herd"});
  const std::vector<int> pids = context.pids();
  ASSERT_EQ(pids.size(), 3U);
  for (int rank = 0; rank < 3; ++rank) {
    Process& process = context.processes()[static_cast<std::size_t>(rank)];
    EXPECT_EQ(process.pid(), pids[static_cast<std::size_t>(rank)]);
    EXPECT_EQ(process.name(), fmt::format("herd-{}", rank));
    EXPECT_TRUE(process.is_alive());
  }
}

TEST(Spawn, ADestroyedContextLeavesNoChildAndComplainsOfNone) {
  testing::internal::CaptureStderr();
  {
    const ProcessContext context = start_processes([](int) { sleep_for_good(); }, 3);
  }
  EXPECT_FALSE(has_children());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Spawn, JoinIsFalseAtItsDeadlineAndCanBeAskedAgain) {
  const Words may_end;
  ProcessContext context = start_processes([&](int rank) { wait_until_set(may_end[rank]); }, 2);
  EXPECT_FALSE(context.join(Deadline::after(20ms)));
  may_end[0].store(1);
  EXPECT_FALSE(context.join(Deadline::after(100ms))) << "one of two has ended";
  may_end[1].store(1);
  EXPECT_TRUE(context.join(Deadline::after(kSoon)));
  EXPECT_TRUE(context.join(Deadline::after(kSoon))) << "and once more";
}

TEST(Spawn, TheFirstFailureIsThrownAndTheRestIsStopped) {
  ProcessContext context = start_processes(
      [](int rank) {
        if (rank == 1) throw std::runtime_error("fell over the fence");
        sleep_for_good();
      },
      3);
  for (int again = 0; again < 2; ++again) {
    try {
      context.join(Deadline::after(kSoon));
      ADD_FAILURE() << "join did not throw";
    } catch (const WorkerError& error) {
      EXPECT_EQ(error.exit().rank, 1);
      EXPECT_EQ(error.exit().pid, context.pids()[1]);
      EXPECT_EQ(error.exit().exit_code, 1);
      EXPECT_EQ(error.exit().message, "fell over the fence");
    }
  }
  EXPECT_FALSE(has_children());
  EXPECT_EQ(context.processes()[0].exit_signal(), SIGTERM) << "the rest is asked politely";
}

TEST(Spawn, ADeathBySignalIsAFailure) {
  try {
    spawn(
        [](int rank) {
          if (rank == 0) ::raise(SIGKILL);
          sleep_for_good();
        },
        2);
    ADD_FAILURE() << "it did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 0);
    EXPECT_EQ(error.exit().signal, SIGKILL);
  }
  EXPECT_FALSE(has_children());
}

TEST(Spawn, OneThatIgnoresSigtermIsKilledAfterTheGrace) {
  const Words ready;
  ProcessContext context = start_processes(
      [&](int rank) {
        if (rank == 0) {
          ::signal(SIGTERM, SIG_IGN);
          ready[0].store(1);
          sleep_for_good();
        }
        wait_until_set(ready[0]);
        throw std::runtime_error("stop");
      },
      2, {.grace = 50ms});
  EXPECT_THROW(context.join(Deadline::after(kSoon)), WorkerError);
  EXPECT_EQ(context.processes()[0].exit_signal(), SIGKILL);
  EXPECT_FALSE(has_children());
}

TEST(Spawn, OneThatCleansUpWithinTheGraceIsLetTo) {
  const Words words;
  static std::atomic<bool> asked{false};  // Of each child its own.
  ProcessContext context = start_processes(
      [&](int rank) {
        if (rank == 1) {
          wait_until_set(words[0]);
          throw std::runtime_error("stop");
        }
        ::signal(SIGTERM, [](int) { asked.store(true); });
        words[0].store(1);
        while (!asked.load()) std::this_thread::sleep_for(1ms);
        words[1].store(1);
      },
      2);
  EXPECT_THROW(context.join(Deadline::after(kSoon)), WorkerError);
  EXPECT_EQ(words[1].load(), 1);
  EXPECT_EQ(context.processes()[0].exit_code(), 0);
}

TEST(Spawn, TheBudgetIsSharedOut) {
  spawn(
      [](int) {
        const int share = std::max(1, default_workers() / 4);
        require(at::get_num_threads() <= share, "{} threads instead of {}", at::get_num_threads(), share);
      },
      4);
  spawn([](int) { require(at::get_num_threads() == 2, "{} threads", at::get_num_threads()); }, 1, {.threads = 2});
}

TEST(Spawn, ASpawnedProcessMaySpawn) {
  const Words ran;
  spawn([&](int rank) { spawn([&, rank](int inner) { ran[2 * rank + inner].store(1); }, 2); }, 2);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ran[i].load(), 1) << i;
}

TEST(Spawn, TheContextCanBeMoved) {
  ProcessContext first = start_processes([](int) {}, 2);
  ProcessContext second = std::move(first);
  EXPECT_TRUE(second.join(Deadline::after(kSoon)));
}

TEST(Spawn, ItsSentinelsCanBePolled) {
  ProcessContext context = start_processes(
      [](int rank) {
        if (rank != 1) sleep_for_good();
      },
      2);
  std::array<Process*, 2> both = {&context.processes()[0], &context.processes()[1]};
  EXPECT_EQ(wait_any(both, Deadline::after(kSoon)), std::vector{both[1]});
}

TEST(Spawn, NoneIsRefused) {
  EXPECT_THROW(spawn([](int) {}, 0), UsageError);
  EXPECT_THROW(spawn([](int) {}, -1), UsageError);
}

// Users of Python and LibTorch meet it as a child that hangs for ever in its first parallel operation.
TEST(ComplaintDeadlockAfterForkWithOpenMP, TheForkIsRefusedAndNamesTheThreads) {
  Process parent = Process::start(
      [] {
        const auto parallel = [](int) { (void)at::ones({1 << 20}).sum(); };
        parallel(0);
        try {
          ProcessContext children = start_processes(parallel, 2);
          const bool ended = children.join(Deadline::after(5s));
          throw std::runtime_error(ended ? "it forked" : "it forked, and the child hangs");
        } catch (const UsageError& error) {
          if (std::string(error.what()).find("it has 2: ") == std::string::npos) throw;
        }
      },
      {.threads = 2});
  EXPECT_TRUE(parent.join(Deadline::after(kSoon)));
}

TEST(ComplaintDeadlockAfterForkWithOpenMP, WhoForksFirstMayUseItInEveryProcess) {
  Process parent = Process::start(
      [] {
        const auto parallel = [](int) { (void)at::ones({1 << 20}).sum(); };
        ProcessContext children = start_processes(parallel, 2, {.threads = 2});
        parallel(0);
        require(children.join(Deadline::after(20s)), "a child hangs");
      },
      {.threads = 2});
  EXPECT_TRUE(parent.join(Deadline::after(kSoon)));
}

}  // namespace
}  // namespace hogpen
