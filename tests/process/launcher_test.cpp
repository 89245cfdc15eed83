#include "runtime/process/launcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>

#include "runtime/process/affinity.h"
#include "runtime/process/process.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kChunks = 400;

/// What is left behind is counted before and after.
struct Leftovers {
  std::size_t descriptors = 0;
  std::size_t mappings = 0;
  std::size_t threads = 0;

  static Leftovers now() {
    const auto count = [](const char* directory) {
      const std::filesystem::directory_iterator all(directory);
      return static_cast<std::size_t>(std::distance(begin(all), end(all)));
    };
    std::ifstream maps("/proc/self/maps");
    std::size_t segments = 0;
    for (std::string line; std::getline(maps, line);) segments += line.find("memfd:hogpen") != std::string::npos;
    return {count("/proc/self/fd"), segments, count("/proc/self/task")};
  }
  friend bool operator==(const Leftovers&, const Leftovers&) = default;
};

class LauncherTest : public ::testing::TestWithParam<WorkersAs> {
 protected:
  LauncherTest() {
    std::thread([] {}).join();  // ThreadSanitizer's runtime starts a thread of its own beside the first.
    before_ = Leftovers::now();
  }
  ~LauncherTest() override {
    EXPECT_EQ(before_, Leftovers::now()) << "a descriptor, a mapping or a thread is left";
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  }
  [[nodiscard]] LauncherOptions options(int workers) const {
    return {.workers = workers, .workers_as = GetParam(), .threads_per_worker = 1};
  }

 private:
  Leftovers before_;
};

/// Claims all chunks; each makes a mark in the slot's samples.
void do_all_chunks(Worker& worker) {
  worker.wait_for_start();
  while (!worker.should_stop()) {
    const auto chunk = worker.claim(kChunks);
    if (!chunk) return;
    worker.step_done(*chunk + 1, 0.5);
    worker.pause_point();
  }
}

TEST_P(LauncherTest, WorkersShareTheWorkAndDoEachChunkOnce) {
  for (const int workers : {1, 2, 5}) {
    Launcher launcher(options(workers));
    const LaunchReport report = launcher.run(do_all_chunks);
    EXPECT_TRUE(report.deaths.empty());
    EXPECT_EQ(launcher.control().total_steps(), kChunks);
    EXPECT_EQ(launcher.control().total_samples(), kChunks * (kChunks + 1) / 2);
    EXPECT_EQ(launcher.control().mean_loss(), 0.5);
  }
}

TEST_P(LauncherTest, PinnedWorkersRunOnCpusOfTheirOwn) {
  const std::vector<int> all = allowed_cpus();
  LauncherOptions pinned = options(3);
  pinned.pin_workers = true;
  Launcher launcher(pinned);
  launcher.set_keeper([&](Worker&) { require(allowed_cpus() == all, "the keeper may not run on all CPUs"); });
  launcher.run([&](Worker& worker) {
    const auto mine = static_cast<std::size_t>(worker.rank()) % all.size();
    require(allowed_cpus() == std::vector{all[mine]}, "worker {} may run elsewhere", worker.rank());
  });
  EXPECT_EQ(allowed_cpus(), all);
}

TEST_P(LauncherTest, TheFirstStepIsTheEarliestOfAnyWorkerAndStays) {
  Launcher launcher(options(2));
  EXPECT_FALSE(launcher.control().first_step());
  launcher.run([](Worker& worker) {
    worker.wait_for_start();
    while (worker.rank() == 0 && worker.control().slot(1).first_step.load() == 0) std::this_thread::sleep_for(1ms);
    for (int step = 0; step < 3; ++step) {
      worker.step_done(1, 0.0);
      std::this_thread::sleep_for(5ms);
    }
  });
  const ControlBlock& control = launcher.control();
  ASSERT_TRUE(control.first_step());
  EXPECT_EQ(control.first_step()->time_since_epoch().count(), control.slot(1).first_step.load());
  EXPECT_LT(control.slot(1).first_step.load(), control.slot(1).heartbeat.load());
  EXPECT_LT(*control.first_step(), control.last_step());
}

TEST_P(LauncherTest, NobodyBeginsBeforeAllHaveCome) {
  Launcher launcher(options(3));
  ControlBlock& control = launcher.control();
  launcher.run([&](Worker& worker) {
    if (worker.rank() == 2) std::this_thread::sleep_for(50ms);
    worker.wait_for_start();
    for (int rank = 0; rank < 3; ++rank) {
      if (control.slot(rank).state.load() == WorkerState::absent) throw std::runtime_error("somebody is not here yet");
    }
  });
}

TEST_P(LauncherTest, AWorkerThatThrowsIsReplacedAndTheWorkIsDone) {
  Launcher launcher(options(2));
  ControlBlock& control = launcher.control();
  const LaunchReport report = launcher.run([&](Worker& worker) {
    worker.wait_for_start();
    if (worker.rank() == 1 && control.slot(1).skipped.load() < 3) {
      worker.step_skipped(0);
      throw std::runtime_error("three times");
    }
    while (worker.claim(kChunks)) worker.step_done(1, 0.0);
  });
  ASSERT_EQ(report.deaths.size(), 3u);
  EXPECT_EQ(report.deaths[0].rank, 1);
  EXPECT_EQ(report.deaths[0].message, "three times");
  EXPECT_EQ(control.total_steps(), kChunks);
}

TEST_P(LauncherTest, AFailureBeyondTheRestartsIsThrownAndTheOthersStop) {
  LauncherOptions some = options(2);
  some.max_restarts = 2;
  Launcher launcher(some);
  try {
    launcher.run([](Worker& worker) {
      worker.wait_for_start();
      if (worker.rank() == 0) throw std::runtime_error("always");
      while (!worker.should_stop()) std::this_thread::sleep_for(1ms);
    });
    FAIL() << "run did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 0);
    EXPECT_NE(std::string(error.what()).find("always"), std::string::npos);
  }
}

TEST_P(LauncherTest, AUsageErrorIsNotTriedAgain) {
  Launcher launcher(options(1));
  int deaths = 0;
  launcher.on_death([&](const WorkerExit&) { ++deaths; });
  EXPECT_THROW(launcher.run([](Worker&) { throw UsageError("wrong"); }), WorkerError);
  EXPECT_EQ(deaths, 1);
}

TEST_P(LauncherTest, TheKeeperOutlivesTheWorkers) {
  Launcher launcher(options(2));
  std::atomic<std::uint64_t>& seen = launcher.control().header().cursor;
  launcher.set_keeper([&](Worker& keeper) {
    while (!keeper.workers_are_done()) std::this_thread::sleep_for(1ms);
    seen.store(keeper.control().total_steps());
  });
  launcher.run([](Worker& worker) {
    worker.wait_for_start();
    for (int i = 0; i < 10; ++i) worker.step_done(1, 0.0);
  });
  EXPECT_EQ(seen.load(), 20u);
}

TEST_P(LauncherTest, AFailureOfTheKeeperEndsTheLaunch) {
  Launcher launcher(options(2));
  launcher.set_keeper([](Worker&) { throw std::runtime_error("disk full"); });
  try {
    launcher.run([](Worker& worker) {
      worker.wait_for_start();
      while (!worker.should_stop()) std::this_thread::sleep_for(1ms);
    });
    FAIL() << "run did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 2);
    EXPECT_EQ(error.exit().message, "disk full");
  }
}

TEST_P(LauncherTest, APauseHoldsAllWorkersAtAStepBoundary) {
  Launcher launcher(options(3));
  ControlBlock& control = launcher.control();
  launcher.set_keeper([&](Worker& keeper) {
    while (control.total_steps() < 100) std::this_thread::sleep_for(100us);
    for (int round = 0; round < 50; ++round) {
      if (!control.pause_workers(Deadline::after(20s))) throw std::runtime_error("they did not pause");
      const std::uint64_t before = control.total_steps();
      std::this_thread::sleep_for(1ms);
      if (control.total_steps() != before) throw std::runtime_error("a step was made during the pause");
      control.resume_workers();
    }
    keeper.stop_all();
  });
  launcher.run([](Worker& worker) {
    worker.wait_for_start();
    for (; !worker.should_stop(); worker.pause_point()) worker.step_done(1, 0.0);
  });
}

TEST_P(LauncherTest, APauseThatOneWorkerDoesNotReachIsGivenUp) {
  Launcher launcher(options(2));
  ControlBlock& control = launcher.control();
  launcher.set_keeper([&](Worker& keeper) {
    while (control.header().started.load() == 0) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(20ms);
    const bool did_pause = control.pause_workers(Deadline::after(50ms));
    keeper.stop_all();
    if (did_pause) throw std::runtime_error("it paused");
  });
  launcher.run([](Worker& worker) {
    worker.wait_for_start();
    while (!worker.should_stop()) {
      std::this_thread::sleep_for(1ms);
      if (worker.rank() == 0) worker.pause_point();
    }
  });
}

TEST_P(LauncherTest, ALifeThatMadeAStepRenewsTheRestartsOfItsRank) {
  constexpr std::uint64_t kLives = 12;
  LauncherOptions some = options(2);
  some.max_restarts = 2;
  Launcher launcher(some);
  const LaunchReport report = launcher.run([](Worker& worker) {
    worker.wait_for_start();
    if (worker.rank() == 1) return;
    const auto life = worker.claim(kLives);
    if (!life) return;
    if (*life % 3 == 2) worker.step_done(1, 0.0);  // Two lives of three come to nothing.
    throw std::runtime_error("on and on");
  });
  EXPECT_EQ(report.deaths.size(), kLives);
}

TEST_P(LauncherTest, ASignalAsksForTheEndAndIsReported) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Launcher launcher(options(2));
    launcher.every(1ms, [&, sent = false]() mutable {
      if (!std::exchange(sent, launcher.control().header().started.load() != 0) &&
          launcher.control().header().started.load() != 0) {
        ::kill(::getpid(), signal);
      }
    });
    const LaunchReport report = launcher.run([](Worker& worker) {
      worker.wait_for_start();
      for (; !worker.should_stop(); worker.pause_point()) worker.step_done(1, 0.0);
    });
    EXPECT_EQ(report.stopped_by, signal);
  }
}

class ThreadLauncherTest : public LauncherTest {};
INSTANTIATE_TEST_SUITE_P(As, ThreadLauncherTest, ::testing::Values(WorkersAs::threads),
                         [](const auto&) { return "threads"; });

TEST_P(ThreadLauncherTest, ASignalThatAnEarlierThreadGetsAsksForTheEndToo) {
  std::atomic<bool> is_over = false;
  std::thread earlier([&] {
    while (!is_over.load()) std::this_thread::sleep_for(1ms);
  });
  Launcher launcher(options(2));
  launcher.every(1ms, [&, sent = false]() mutable {
    if (!sent && launcher.control().total_steps() > 0) {
      sent = ::pthread_kill(earlier.native_handle(), SIGTERM) == 0;
    }
  });
  const LaunchReport report = launcher.run([](Worker& worker) {
    worker.wait_for_start();
    for (; !worker.should_stop(); worker.pause_point()) worker.step_done(1, 0.0);
  });
  EXPECT_EQ(report.stopped_by, SIGTERM);
  is_over.store(true);
  earlier.join();
}

INSTANTIATE_TEST_SUITE_P(As, LauncherTest, ::testing::Values(WorkersAs::processes, WorkersAs::threads),
                         [](const auto& as) { return as.param == WorkersAs::processes ? "processes" : "threads"; });

class ProcessLauncherTest : public LauncherTest {};
INSTANTIATE_TEST_SUITE_P(As, ProcessLauncherTest, ::testing::Values(WorkersAs::processes),
                         [](const auto&) { return "processes"; });

TEST_P(ProcessLauncherTest, WhatTheTickThrowsEndsTheLaunch) {
  Launcher launcher(options(2));
  launcher.every(1ms, [] { throw std::logic_error("tick"); });
  EXPECT_THROW(launcher.run([](Worker&) { ::pause(); }), std::logic_error);
}

TEST_P(ProcessLauncherTest, KilledWorkersAreReplacedAndOnlyTheirChunksAreLost) {
  constexpr std::size_t kKills = 30;  // more than max_restarts: each life gets somewhere
  Launcher launcher(options(4));
  ControlBlock& control = launcher.control();
  std::size_t kills = 0;
  struct Killed {
    int pid = 0;  // stays in its slot until the worker is replaced
    std::uint64_t steps = 0;
  };
  std::array<Killed, 4> killed;  // by rank
  launcher.every(5ms, [&, rank = 0]() mutable {
    rank = (rank + 1) % 4;
    const Killed found = {control.slot(rank).pid.load(), control.slot(rank).steps.load()};
    Killed& last = killed[static_cast<std::size_t>(rank)];
    if (kills < kKills && found.pid != 0 && found.pid != last.pid && found.steps > last.steps) {
      ::kill(found.pid, SIGKILL);
      last = found;
      ++kills;
    }
    if (kills == kKills) control.header().should_stop.store(1);
  });
  const LaunchReport report = launcher.run([](Worker& worker) {
    worker.wait_for_start();
    for (; !worker.should_stop(); worker.pause_point()) {
      if (!worker.claim(~0ull)) return;
      std::this_thread::sleep_for(100us);
      worker.step_done(1, 0.0);
    }
  });
  EXPECT_GE(report.deaths.size(), kKills - 4) << "some may have died when they were to end anyway";
  EXPECT_GE(control.total_steps() + report.deaths.size() + 4, control.header().cursor.load());
}

TEST_P(ProcessLauncherTest, AWorkerThatCrashesIsNamedWithItsSignalAndReport) {
  LauncherOptions some = options(2);
  some.max_restarts = 0;
  Launcher launcher(some);
  try {
    launcher.run([](Worker& worker) {
      volatile std::uintptr_t address = 8;
      if (worker.rank() == 1) *reinterpret_cast<volatile int*>(address) = 1;
      while (!worker.should_stop()) std::this_thread::sleep_for(1ms);
    });
    FAIL() << "run did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 1);
    EXPECT_EQ(error.exit().signal, SIGSEGV);
    EXPECT_EQ(error.exit().message, "SIGSEGV: no memory is mapped at address 0x8");
  }
}

TEST_P(ProcessLauncherTest, AWorkerThatDoesNotStopIsKilledAfterTheGrace) {
  LauncherOptions some = options(2);
  some.grace = 50ms;
  Launcher launcher(some);
  launcher.run([](Worker& worker) {
    if (worker.rank() == 0) return worker.stop_all();
    for (;;) ::pause();
  });
}

TEST_P(ProcessLauncherTest, AStalledWorkerIsReplaced) {
  LauncherOptions some = options(2);
  some.stall_timeout = 100ms;
  Launcher launcher(some);
  ControlBlock& control = launcher.control();
  const LaunchReport report = launcher.run([&](Worker& worker) {
    worker.wait_for_start();
    worker.step_done(1, 0.0);
    if (worker.rank() == 0 && control.slot(0).steps.load() == 1) ::raise(SIGSTOP);
  });
  ASSERT_EQ(report.deaths.size(), 1u);
  EXPECT_EQ(report.deaths[0].message, "it made no step for 100 ms");
}

TEST_P(ProcessLauncherTest, AStallBeyondTheRestartsIsATimeout) {
  LauncherOptions some = options(1);
  some.stall_timeout = 50ms;
  some.max_restarts = 0;
  Launcher launcher(some);
  EXPECT_THROW(launcher.run([](Worker&) {
    for (;;) ::pause();
  }),
               TimeoutError);
}

TEST_P(ProcessLauncherTest, ASecondSignalKills) {
  Launcher launcher(options(2));
  int ticks = 0;
  launcher.every(20ms, [&] {
    if (++ticks <= 2) ::kill(::getpid(), SIGINT);
  });
  const LaunchReport report = launcher.run([](Worker&) {
    for (;;) ::pause();
  });
  EXPECT_EQ(report.stopped_by, SIGINT);
}

TEST_P(ProcessLauncherTest, AllWorkersDieWithTheLauncher) {
  const Segment segment = Segment::create("test", 4 * sizeof(std::atomic<int>));
  auto* pids = new (segment.data()) std::atomic<int>[4]{};
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // Orphans are ours to wait for.
  Process parent = Process::start([&] {
    Launcher launcher({.workers = 3, .threads_per_worker = 1});
    launcher.set_keeper([&](Worker& keeper) {
      pids[3].store(::getpid());
      while (!keeper.workers_are_done()) std::this_thread::sleep_for(1ms);
    });
    launcher.run([&](Worker& worker) {
      pids[worker.rank()].store(::getpid());
      for (;;) ::pause();
    });
  });
  for (int i = 0; i < 4; ++i) {
    while (pids[i].load() == 0) std::this_thread::sleep_for(1ms);
  }
  parent.signal(SIGKILL);
  ASSERT_EQ(parent.wait(Deadline::after(30s)).value().signal, SIGKILL);
  for (int i = 0; i < 4; ++i) {
    int status = 0;
    EXPECT_EQ(::waitpid(pids[i].load(), &status, 0), pids[i].load());
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(Launcher, RefusesNumbersThatMakeNoSense) {
  EXPECT_THROW(Launcher({.workers = 0}), UsageError);
  EXPECT_THROW(Launcher({.workers = 5000}), UsageError);
  EXPECT_THROW(Launcher({.max_restarts = -1}), UsageError);
}

TEST(RunIsolated, PassesAUsageErrorOn) {
  for (const WorkersAs as : {WorkersAs::processes, WorkersAs::threads}) {
    try {
      run_isolated(as, [] { throw UsageError("no such hog", "look in the pen"); });
      FAIL() << "it did not throw";
    } catch (const UsageError& error) {
      EXPECT_STREQ(error.what(), "no such hog");
      EXPECT_EQ(error.hint(), "look in the pen");
    }
  }
}

TEST(RunIsolated, PassesAnyErrorOnAsOneThatIsNoWorkers) {
  try {
    run_isolated(WorkersAs::processes, [] { throw SystemError("open of the sty", EMFILE); });
    FAIL() << "it did not throw";
  } catch (const WorkerError&) {
    FAIL() << "no worker has died";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "open of the sty: Too many open files");
    EXPECT_EQ(error.hint(), "raise the limit on open files: ulimit -n");
  }
}

}  // namespace
}  // namespace hogpen
