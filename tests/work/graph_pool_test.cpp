#include <ATen/ops/full.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "runtime/sync/counter.h"
#include "runtime/work/graph.h"
#include "runtime/work/pool.h"
#include "tests/expect_throw.h"
#include "tests/footprint.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

class GraphPool : public LeavesNothing<> {
 protected:
  Pool& pool() {
    if (!pool_) pool_.emplace(PoolOptions{.workers = 2});
    return *pool_;
  }
  Executor& executor() {
    if (!executor_) executor_.emplace(ExecutorOptions{.place = Place::processes, .processes = &pool()});
    return *executor_;
  }
  void TearDown() override {
    executor_.reset();
    pool_.reset();
    LeavesNothing<>::TearDown();
  }

 private:
  std::optional<Pool> pool_;
  std::optional<Executor> executor_;
};

int add(int a, int b) {
  return a + b;
}

int sq(int x) {
  return x * x;
}

TEST_F(GraphPool, AddAndSq) {
  const auto a = delayed(add)(1, 2);
  const auto b = delayed(sq)(a);
  EXPECT_EQ(b.compute(executor()), 9);
  const auto [x, y] = compute(executor(), a, b);
  EXPECT_EQ(x, 3);
  EXPECT_EQ(y, 9);
}

TEST_F(GraphPool, TasksAreRunByItsWorkers) {
  std::vector<Delayed<int>> pids;
  for (int i = 0; i < 100; ++i) pids.push_back(delayed(::getpid)());
  const auto [found] = compute(executor(), pids);
  const std::vector<int> workers = pool().worker_pids();
  for (const int pid : found) {
    EXPECT_NE(std::find(workers.begin(), workers.end(), pid), workers.end());
  }
}

TEST_F(GraphPool, StringsVectorsTensorsAndNothingTravel) {
  const auto word = delayed([](int n) { return std::string(static_cast<std::size_t>(n), 'x'); });
  const auto lengths = delayed([](const std::vector<std::string>& words, const std::string& more) {
    std::vector<std::size_t> sizes;
    for (const std::string& each : words) sizes.push_back(each.size());
    sizes.push_back(more.size());
    return sizes;
  });
  const auto done = delayed([] {})();
  EXPECT_EQ(lengths(std::vector{word(3), word(100'000)}, std::string("ab"), done).compute(executor()),
            (std::vector<std::size_t>{3, 100'000, 2}));
  const auto tensor = delayed([](double x) { return at::full({100}, x); })(3.0);
  const auto sum = delayed([](const at::Tensor& values) { return values.sum().item<double>(); })(tensor);
  EXPECT_EQ(sum.compute(executor()), 300);
}

TEST_F(GraphPool, RandomGraphsGiveWhatDirectCallsGive) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);  // NOLINT: the same run each time
    std::vector<Delayed<std::uint64_t>> tasks;
    const auto mix = delayed([](std::uint64_t a, std::uint64_t b) { return (a ^ (b << 7)) * 0x9e3779b97f4a7c15u; });
    const auto fold = delayed([](const std::vector<std::uint64_t>& all) {
      return std::accumulate(all.begin(), all.end(), std::uint64_t{7}, std::bit_xor<>());
    });
    tasks.push_back(mix(std::uint64_t{1}, std::uint64_t{seed}));
    for (std::size_t i = 1; i < 500; ++i) {
      if (random() % 5 == 0) {
        tasks.push_back(fold(std::vector{tasks[random() % i], tasks[random() % i], tasks[i - 1]}));
      } else {
        tasks.push_back(mix(tasks[random() % i], tasks[random() % i]));
      }
    }
    ASSERT_EQ(std::get<0>(compute(executor(), tasks)), std::get<0>(compute(tasks))) << seed;
  }
}

TEST_F(GraphPool, MoreTasksThanAPoolHasSlots) {
  const auto base = delayed(add)(1, 0);
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 5'000; ++i) all.push_back(delayed(add)(base, i));
  EXPECT_EQ(delayed([](const std::vector<int>& values) {
              return std::accumulate(values.begin(), values.end(), std::int64_t{0});
            })(all)
                .compute(executor()),
            5'000 * 4'999 / 2 + 5'000);
}

TEST_F(GraphPool, WhatCannotBeSentIsRefusedByItsNameBeforeAnythingIsRun) {
  const Shared<Counter> runs;
  Counter* const counter = &*runs;
  const auto first = delayed([counter] {
    counter->add(1);
    return 1;
  })();
  const std::string captured = "text";
  const auto task = delayed([captured](int x) { return x + static_cast<int>(captured.size()); }, "capturing")(first);
  expect_throw<UsageError>("task 'capturing' cannot be sent to another process: its function captures",
                           [&] { (void)task.compute(executor()); });
  struct Unknown {
    std::shared_ptr<int> pointer;
  };
  const auto result = delayed([](int) { return Unknown{}; }, "resulting")(first);
  expect_throw<UsageError>("task 'resulting' cannot be sent to another process: its result",
                           [&] { (void)result.compute(executor()); });
  const auto argument = delayed([](const char* text) { return text[0]; }, "pointing")("abc");
  expect_throw<UsageError>("task 'pointing' cannot be sent to another process: an argument",
                           [&] { (void)compute(executor(), argument, first); });
  EXPECT_EQ(runs->value(), 0u);
  EXPECT_EQ(task.compute(), 5) << "the calling thread can";
}

TEST_F(GraphPool, AnExceptionNamesTheTaskAndTheWayToIt) {
  const auto bad = delayed([](int x) -> int { throw std::out_of_range("too large: " + std::to_string(x)); }, "sq")(3);
  const auto top = delayed(sq, "total")(delayed(sq, "mean")(bad));
  try {
    (void)top.compute(executor());
    FAIL() << "nothing was thrown";
  } catch (const GraphError& error) {
    EXPECT_STREQ(error.what(), "task 'sq' (total <- mean <- sq) threw std::out_of_range: too large: 3");
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_THROW(error.rethrow_nested(), TaskError);
  }
  EXPECT_EQ(delayed(sq)(3).compute(executor()), 9) << "the pool must go on";
}

TEST_F(GraphPool, NothingIsBegunAfterAFailure) {
  const Shared<Counter> runs;
  Counter* const counter = &*runs;
  std::vector<Delayed<int>> all = {delayed([]() -> int { throw std::runtime_error("no"); })()};
  for (int i = 0; i < 2'000; ++i) {
    all.push_back(delayed([counter] {
      std::this_thread::sleep_for(5ms);
      return static_cast<int>(counter->add(1));
    })());
  }
  EXPECT_THROW((void)compute(executor(), all), GraphError);
  const std::uint64_t begun = runs->value();
  EXPECT_LT(begun, 20u) << "what the pool had been given was not cancelled";
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(runs->value(), begun) << "those that had begun have ended before";
}

TEST_F(GraphPool, AKilledWorkersTaskIsRunAgain) {
  const Shared<Counter> runs;
  Counter* const counter = &*runs;
  const auto once = delayed([counter](int x) {
    if (counter->add(1) == 0) ::raise(SIGKILL);
    return x;
  })(5);
  EXPECT_EQ(delayed(sq)(once).compute(executor()), 25);
}

TEST_F(GraphPool, ATaskThatKillsItsWorkersIsNamed) {
  const auto killer = delayed([](int) -> int { return ::raise(SIGKILL); }, "killer")(1);
  const auto top = delayed(sq, "top")(killer);
  try {
    (void)top.compute(executor());
    FAIL() << "nothing was thrown";
  } catch (const GraphError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("task 'killer' (top <- killer): worker ")) << error.what();
    EXPECT_NE(std::string(error.what()).find("was killed by SIGKILL"), std::string::npos) << error.what();
    EXPECT_EQ(error.type(), "");
    EXPECT_THROW(error.rethrow_nested(), WorkerError);
  }
  EXPECT_EQ(delayed(sq)(3).compute(executor()), 9);
}

TEST_F(GraphPool, AClosedPoolIsAUsageError) {
  Executor& on_pool = executor();
  pool().close();
  EXPECT_THROW((void)delayed(sq)(3).compute(on_pool), UsageError);
}

TEST_F(GraphPool, TellsTheProgressAndTracesTheWorkers) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("graph-pool-{}", ::getpid());
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 300; ++i) {
    all.push_back(delayed(
        [](int x) {
          std::this_thread::sleep_for(3ms);
          return x;
        },
        "nap")(i));
  }
  std::vector<std::size_t> reports;
  const ComputeOptions options{.progress = [&](std::size_t done, std::size_t) { reports.push_back(done); },
                               .trace = path};
  (void)compute(executor(), options, all);
  EXPECT_GE(reports.size(), 2u);
  EXPECT_EQ(reports.back(), 300u);
  std::ifstream file(path);
  const auto trace = nlohmann::json::parse((std::ostringstream() << file.rdbuf()).str());
  std::filesystem::remove(path);
  std::set<std::string> rows;
  int tasks = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "M") {
      rows.insert(event.at("args").at("name"));
    } else {
      ++tasks;
      EXPECT_GE(event.at("dur").get<double>(), 3'000);
    }
  }
  EXPECT_EQ(tasks, 300);
  std::set<std::string> workers;
  for (const int pid : pool().worker_pids()) workers.insert(fmt::format("worker (pid {})", pid));
  EXPECT_EQ(rows, workers);
}

}  // namespace
}  // namespace hogpen
