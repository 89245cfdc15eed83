#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <map>
#include <numeric>
#include <random>
#include <thread>

#include "runtime/process/process.h"
#include "runtime/sync/counter.h"
#include "runtime/sync/event.h"
#include "runtime/sync/shared_array.h"
#include "runtime/work/pool.h"
#include "tests/footprint.h"
#include "tests/running_workers.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 60s;

using PoolFault = LeavesNothing<>;

bool is_gone(int pid) {
  return ::kill(pid, 0) != 0;
}

// Kills random workers of a pool from a thread of its own: some at once, others after up to some 60 ms. A machine that
// is slow could not start any if all were killed at once, and a pool gives up after so many deaths in a row.
class Killer {
 public:
  Killer(const Pool& pool, int kills)
      : thread_([&pool, kills, this] {
          std::mt19937 random(1);  // NOLINT: the same run each time
          std::map<int, std::uint32_t> looks_left;
          while (kills_.load() < kills && !should_stop_.load()) {
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 2'000));
            const std::vector<int> pids = pool.worker_pids();
            const int pid = pids[random() % pids.size()];
            if (pid == 0) continue;  // being replaced
            if (looks_left.try_emplace(pid, random() % 16).first->second-- != 0) continue;
            if (::kill(pid, SIGKILL) == 0) ++kills_;
          }
        }) {}
  ~Killer() {
    should_stop_.store(true);
    thread_.join();
  }
  [[nodiscard]] int kills() const noexcept { return kills_.load(); }

 private:
  std::atomic<int> kills_{0};
  std::atomic<bool> should_stop_{false};
  std::thread thread_;
};

// Every result is right and there once, and every task ran at least once, however many workers are killed: in Python a
// killed worker's task is lost and its pool hangs.
TEST_F(PoolFault, ComplaintHangAfterAKilledPoolWorker) {
  constexpr int kKills = 1'000;
  constexpr std::int64_t kItems = 400;
  Pool pool({.workers = 4, .retries = 200});
  const Killer killer(pool, kKills);
  std::vector<std::int64_t> items(kItems);
  std::iota(items.begin(), items.end(), 0);
  const Deadline deadline = Deadline::after(kPatience * 4);
  std::int64_t rounds = 0;
  for (; killer.kills() < kKills; ++rounds) {
    auto plain = pool.map_async(
        [](std::int64_t value) {
          for (int i = 0; i < 500; ++i) relax_cpu();
          return value * value;
        },
        items, {.chunk_size = 5});
    auto encoded = pool.map_async([](std::int64_t value) { return std::string(static_cast<std::size_t>(value), 'x'); },
                                  items, {.chunk_size = 20});
    const auto squares = plain.get(deadline);
    const auto texts = encoded.get(deadline);
    for (std::int64_t i = 0; i < kItems; ++i) {
      ASSERT_EQ(squares[static_cast<std::size_t>(i)], i * i) << "round " << rounds;
      ASSERT_EQ(texts[static_cast<std::size_t>(i)].size(), static_cast<std::size_t>(i)) << "round " << rounds;
    }
  }
  RecordProperty("rounds", std::to_string(rounds));
}

TEST_F(PoolFault, ATaskThatKillsItsWorkerIsTriedAgainAndThenNamesPidAndSignal) {
  const Shared<Counter> tries;
  Counter* counter = &*tries;
  Pool pool({.workers = 2, .retries = 2});
  try {
    pool.apply([counter] {
      counter->add();
      ::raise(SIGKILL);
    });
    ADD_FAILURE() << "it returned";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().signal, SIGKILL);
    EXPECT_GT(error.exit().pid, 0);
    EXPECT_NE(std::string(error.what()).find("SIGKILL"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(std::to_string(error.exit().pid)), std::string::npos) << error.what();
  }
  EXPECT_EQ(counter->value(), 3u);
  EXPECT_EQ(pool.apply([] { return 5; }), 5) << "the pool must have repaired itself";
}

TEST_F(PoolFault, ATaskIsRunAgainWhenItsWorkerDiedOnce) {
  const Shared<Counter> tries;
  Counter* counter = &*tries;
  Pool pool({.workers = 2});
  const auto results = pool.map(
      [counter](int value) {
        if (value == 3 && counter->add() == 0) ::raise(SIGSEGV);
        return value;
      },
      std::vector{1, 2, 3, 4}, {.chunk_size = 1});
  EXPECT_EQ(results, (std::vector{1, 2, 3, 4}));
  EXPECT_EQ(counter->value(), 2u);
}

TEST_F(PoolFault, ATaskThatEndsItsWorkerWithSuccessIsNotLost) {
  Pool pool({.workers = 1});
  auto result = pool.apply_async([] { ::_exit(0); });
  pool.close();
  EXPECT_THROW(result.get(Deadline::after(kPatience)), WorkerError);
}

TEST_F(PoolFault, ATaskThatRunsTooLongIsStoppedAndSaysSo) {
  Pool pool({.workers = 2, .task_timeout = 100ms});
  auto slow = pool.apply_async([] {
    for (;;) ::pause();
  });
  try {
    slow.get(Deadline::after(kPatience));
    ADD_FAILURE() << "it returned";
  } catch (const TimeoutError& error) {
    EXPECT_NE(std::string(error.what()).find("ran longer than 100 ms"), std::string::npos) << error.what();
  }
  EXPECT_EQ(pool.apply([] { return 5; }), 5);
}

TEST_F(PoolFault, AKilledSupervisorIsAnErrorForWhoWaits) {
  Pool pool({.workers = 2});
  const int worker = pool.apply([] { return ::getpid(); });
  const int supervisor = pool.apply([] { return ::getppid(); });
  auto stuck = pool.apply_async([] {
    for (;;) ::pause();
  });
  ::kill(supervisor, SIGKILL);
  EXPECT_THROW(stuck.get(Deadline::after(kPatience)), WorkerError);
  EXPECT_TRUE(wait_until(kPatience, [&] { return is_gone(worker); })) << "a worker must die with its supervisor";
}

TEST_F(PoolFault, ADeadOwnerTakesSupervisorAndWorkersAlong) {
  const SharedArray<int> pids(3);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // so that orphans can be reaped here, and a zombie is told from a process
  Process owner = Process::start([&] {
    Pool pool({.workers = 2});
    (void)pool.apply([] { return 0; });
    pids[0] = pool.apply([] { return ::getppid(); });
    const std::vector<int> workers = running_workers(pool);
    for (std::size_t i = 0; i < 2; ++i) pids[i + 1] = workers[i];
    ::raise(SIGKILL);
  });
  EXPECT_EQ(owner.wait(Deadline::after(kPatience))->signal, SIGKILL);
  for (const int pid : pids) {
    ASSERT_GT(pid, 0);
    EXPECT_TRUE(wait_until(kPatience, [&] { return ::waitpid(pid, nullptr, WNOHANG) == pid || is_gone(pid); }));
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_F(PoolFault, AStoppedWorkerDelaysItsTaskAndNoOther) {
  const Shared<Event> has_begun;
  Event* begun = &*has_begun;
  Pool pool({.workers = 2});
  auto slow = pool.apply_async([begun] {
    begun->set();
    std::this_thread::sleep_for(300ms);
    return ::getpid();
  });
  ASSERT_TRUE(has_begun->wait(Deadline::after(kPatience)));
  const auto stopped = running_workers(pool);
  // Which of the two runs it is not known yet: stop the one that does.
  const auto is_busy = [&](int pid) { return pool.apply([] { return ::getpid(); }) != pid; };
  const int busy = is_busy(stopped[0]) ? stopped[0] : stopped[1];
  ::kill(busy, SIGSTOP);
  std::vector<int> items(100);
  EXPECT_EQ(pool.map([](int value) { return value + 1; }, items, {.chunk_size = 1}), std::vector<int>(100, 1));
  std::this_thread::sleep_for(1s);
  EXPECT_FALSE(slow.ready());
  ::kill(busy, SIGCONT);
  EXPECT_EQ(slow.get(Deadline::after(kPatience)), busy);
}

TEST_F(PoolFault, AnInitializerThatCrashesBreaksThePool) {
  Pool pool({.workers = 2, .initializer = [] { ::raise(SIGSEGV); }});
  try {
    pool.apply([] { return 1; });
    ADD_FAILURE() << "the pool worked";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("SIGSEGV"), std::string::npos) << error.what();
  }
}

TEST_F(PoolFault, NestedPoolsStayWithinTheThreadBudget) {
  Pool pool({.workers = 2, .threads_per_worker = 1});
  const int nested = pool.apply([] {
    Pool inner;
    return inner.workers() * 100 + inner.apply([] { return 7; });
  });
  EXPECT_EQ(nested, 107);
}

}  // namespace
}  // namespace hogpen
