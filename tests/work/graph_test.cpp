#include "runtime/work/graph.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "tests/expect_throw.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

#ifdef HOGPEN_SANITIZED
constexpr std::size_t kMany = 50'000;
#else
constexpr std::size_t kMany = 1'000'000;
#endif

int add(int a, int b) {
  return a + b;
}

int sq(int x) {
  return x * x;
}

int count_up(int x) {
  return x + 1;
}

// A value that counts how many of its kind there are.
class Counted {
 public:
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> most{0};
  static inline std::atomic<int> copies{0};

  static void reset() {
    ASSERT_EQ(alive.load(), 0);
    most = 0;
    copies = 0;
  }
  explicit Counted(int value) : value_(value) { born(); }
  Counted(const Counted& other) : value_(other.value_) {
    ++copies;
    born();
  }
  Counted(Counted&& other) noexcept : value_(other.value_) { born(); }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --alive; }
  [[nodiscard]] int value() const { return value_; }

 private:
  static void born() {
    const int now = ++alive;
    int seen = most;
    while (seen < now && !most.compare_exchange_weak(seen, now)) {
    }
  }
  int value_;
};

// The same bodies in the calling thread and on several.
class GraphOn : public testing::TestWithParam<int> {
 protected:
  Executor executor{{.place = GetParam() == 1 ? Place::caller : Place::threads, .threads = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(, GraphOn, testing::Values(1, 2, 5),
                         [](const auto& tested) { return "threads" + std::to_string(tested.param); });

TEST(Graph, TheSeedsAddAndSq) {
  const auto a = delayed(add)(1, 2);
  const auto b = delayed(sq)(a);
  EXPECT_EQ(b.compute(), 9);
}

TEST_P(GraphOn, AddAndSq) {
  const auto a = delayed(add)(1, 2);
  const auto b = delayed(sq)(a);
  EXPECT_EQ(b.compute(executor), 9);
  const auto [x, y] = compute(executor, a, b);
  EXPECT_EQ(x, 3);
  EXPECT_EQ(y, 9);
}

TEST_P(GraphOn, ATaskThatSeveralNeedIsRunOnce) {
  std::atomic<int> runs{0};
  const auto base = delayed([&runs](int x) {
    ++runs;
    return std::string(static_cast<std::size_t>(x), 'x');
  })(3);
  const auto length = delayed([](const std::string& text) { return text.size(); });
  const auto sum = delayed([](std::size_t a, std::size_t b, const std::string& c) { return a + b + c.size(); });
  EXPECT_EQ(sum(length(base), length(base), base).compute(executor), 9u);
  EXPECT_EQ(runs, 1);
}

TEST_P(GraphOn, ComputesAgainWhenAskedAgain) {
  std::atomic<int> runs{0};
  const auto task = delayed([&runs] { return ++runs; })();
  const auto after = delayed(count_up)(task);
  EXPECT_EQ(after.compute(executor), 2);
  EXPECT_EQ(after.compute(executor), 3);
  EXPECT_EQ(task.compute(executor), 3);
}

TEST_P(GraphOn, TakesVectorsOfResults) {
  std::vector<Delayed<std::string>> words;
  for (int i = 0; i < 100; ++i) words.push_back(delayed([](int n) { return std::to_string(n); })(i));
  const auto joined = delayed([](const std::vector<std::string>& texts, const std::string& end) {
    return std::accumulate(texts.begin(), texts.end(), std::string()) + end;
  });
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += std::to_string(i);
  EXPECT_EQ(joined(words, std::string("!")).compute(executor), expected + "!");
  EXPECT_EQ(joined(std::vector<Delayed<std::string>>(), std::string("!")).compute(executor), "!");
  words.push_back(words[5]);
  EXPECT_EQ(joined(words, words[0]).compute(executor), expected + "50");
}

TEST_P(GraphOn, ComputesNoneOneAndManyTargets) {
  EXPECT_EQ(compute(executor), std::tuple<>());
  std::vector<Delayed<int>> squares;
  EXPECT_TRUE(std::get<0>(compute(executor, squares)).empty());
  for (int i = 0; i < 1'000; ++i) squares.push_back(delayed(sq)(i));
  const auto [all, first, again] = compute(executor, squares, squares[3], squares[3]);
  ASSERT_EQ(all.size(), 1'000u);
  EXPECT_EQ(all[999], 998'001);
  EXPECT_EQ(first, 9);
  EXPECT_EQ(again, 9);
}

TEST_P(GraphOn, AVoidTaskIsWaitedForAndNoArgument) {
  std::atomic<int> written{0};
  std::vector<Delayed<void>> writes;
  for (int i = 0; i < 50; ++i) writes.push_back(delayed([&written] { ++written; })());
  const auto commit = delayed([&written](int x) { return written + x; })(writes, 1, writes[0]);
  EXPECT_EQ(commit.compute(executor), 51);
  writes[0].compute(executor);
  EXPECT_EQ(written, 51);
  const auto [only] = compute(executor, writes[0], commit, writes);
  EXPECT_EQ(only, 102);
}

TEST_P(GraphOn, ResultsNeedOnlyBeMovable) {
  const auto box = delayed([](int x) { return std::make_unique<int>(x); });
  const auto one = box(1);
  EXPECT_EQ(*one.compute(executor), 1);
  const auto look = delayed([](const std::unique_ptr<int>& x) { return *x; });
  EXPECT_EQ(delayed(add)(look(one), look(one)).compute(executor), 2);
  const auto collect = delayed([](std::vector<std::unique_ptr<int>> all) { return all.size(); });
  EXPECT_EQ(collect(std::vector{one, box(2)}).compute(executor), 2u);
  expect_throw<GraphError>("is needed by several", [&] { (void)collect(std::vector{one, one}).compute(executor); });
}

TEST_P(GraphOn, AResultIsDestroyedWhenItsLastConsumerHasRun) {
  Counted::reset();
  {
    auto last = delayed([] { return Counted(0); })();
    const auto step = delayed([](const Counted& x) { return Counted(x.value() + 1); });
    for (int i = 0; i < 1'000; ++i) last = step(last);
    EXPECT_EQ(last.compute(executor).value(), 1'000);
    EXPECT_EQ(Counted::alive, 0) << "nothing is kept by the graph";
    EXPECT_LE(Counted::most, 3) << "a chain needs two at a time, and one on its way out";
    EXPECT_EQ(Counted::copies, 0);
  }
  {
    Counted::reset();
    std::vector<Delayed<Counted>> values;
    for (int i = 0; i < 100; ++i) values.push_back(delayed([](int x) { return Counted(x); })(i));
    const auto sum = delayed([](std::vector<Counted> all) {
      return std::accumulate(all.begin(), all.end(), 0, [](int s, const Counted& x) { return s + x.value(); });
    });
    EXPECT_EQ(sum(values).compute(executor), 4'950);
    EXPECT_EQ(Counted::copies, 0) << "who alone needs a result gets it moved";
    const auto [kept, total] = compute(executor, values[7], sum(values));
    EXPECT_EQ(kept.value(), 7);
    EXPECT_EQ(total, 4'950);
    EXPECT_EQ(Counted::alive, 1);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Graph, AReductionOfManyNeedsFewAtATime) {
  Counted::reset();
  const auto leaf = delayed([](int x) { return Counted(x); });
  auto sum = leaf(0);
  const auto plus = delayed([](const Counted& a, const Counted& b) { return Counted(a.value() + b.value()); });
  for (int i = 1; i < 1'000; ++i) sum = plus(sum, leaf(i));
  EXPECT_EQ(sum.compute().value(), 499'500);
  EXPECT_LE(Counted::most, 4);
}

TEST_P(GraphOn, AChainOfManyIsComputedAndDestroyedWithoutRecursion) {
  auto last = delayed([] { return 0; })();
  const auto step = delayed(count_up);
  for (std::size_t i = 0; i < kMany; ++i) last = step(std::move(last));
  EXPECT_EQ(last.compute(executor), static_cast<int>(kMany));
}

TEST_P(GraphOn, AWideGraphOfManyIsComputedAndDestroyed) {
  const auto base = delayed([] { return 1; })();
  const auto step = delayed(count_up);
  std::vector<Delayed<int>> all;
  for (std::size_t i = 0; i < kMany; ++i) all.push_back(step(base));
  const auto sum = delayed([](const std::vector<int>& values) {
    return std::accumulate(values.begin(), values.end(), std::int64_t{0});
  })(std::move(all));
  EXPECT_EQ(sum.compute(executor), static_cast<std::int64_t>(2 * kMany));
}

// A random graph, and beside it what it must give.
struct RandomGraph {
  std::vector<Delayed<std::uint64_t>> tasks;
  std::vector<std::uint64_t> values;

  RandomGraph(std::uint32_t seed, std::size_t size) {
    std::mt19937 random(seed);  // NOLINT: the same run each time
    const auto mix = [](std::uint64_t a, std::uint64_t b) { return (a ^ (b << 7)) * 0x9e3779b97f4a7c15u; };
    const auto fold = [mix](const std::vector<std::uint64_t>& all) {
      return std::accumulate(all.begin(), all.end(), std::uint64_t{7}, mix);
    };
    for (std::size_t i = 0; i < size; ++i) {
      const auto pick = [&] { return random() % i; };
      const auto kind = i == 0 ? 0 : random() % 8;
      if (kind == 0) {
        tasks.push_back(delayed([](std::uint64_t x) { return x; })(i));
        values.push_back(i);
      } else if (kind == 1) {
        std::vector<Delayed<std::uint64_t>> some;
        std::vector<std::uint64_t> theirs;
        for (auto k = random() % 20; k > 0; --k) {
          const std::size_t one = pick();
          some.push_back(tasks[one]);
          theirs.push_back(values[one]);
        }
        tasks.push_back(delayed(fold)(some));
        values.push_back(fold(theirs));
      } else {
        const std::size_t a = pick();
        const std::size_t b = kind < 6 ? pick() : i - 1;
        tasks.push_back(delayed(mix)(tasks[a], tasks[b]));
        values.push_back(mix(values[a], values[b]));
      }
    }
  }
};

TEST_P(GraphOn, RandomGraphsGiveWhatDirectCallsGive) {
  for (std::uint32_t seed = 1; seed <= 100; ++seed) {
    const RandomGraph graph(seed, seed * 20);
    ASSERT_EQ(graph.tasks.back().compute(executor), graph.values.back()) << seed;
    ASSERT_EQ(std::get<0>(compute(executor, graph.tasks)), graph.values) << seed;
  }
}

TEST_P(GraphOn, SmallGraphsOneAfterTheOther) {
  for (int i = 0; i < 5'000; ++i) {
    const auto a = delayed(sq)(i % 100);
    const auto b = delayed(count_up)(i);
    ASSERT_EQ(delayed(add)(a, b).compute(executor), (i % 100) * (i % 100) + i + 1);
  }
}

TEST_P(GraphOn, TasksThatTakeLongAreSharedAndWaitedFor) {
  const auto slow = delayed([](int x) {
    std::this_thread::sleep_for(2ms);
    return x;
  });
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 30; ++i) all.push_back(delayed(add)(slow(i), slow(1)));
  EXPECT_EQ(std::get<0>(compute(executor, all))[29], 30);
}

TEST(Graph, TheNextComputationMayBeOfPartsOfTheGraph) {
  const auto a = delayed(add)(1, 2);
  const auto b = delayed(sq)(a);
  EXPECT_EQ(b.compute(), 9);
  const auto c = delayed(add)(a, b);
  EXPECT_EQ(c.compute(), 12);
  EXPECT_EQ(a.compute(), 3);
}

TEST(Graph, AGraphOutlivesTheHandlesOfItsParts) {
  auto last = std::make_unique<Delayed<int>>(delayed(add)(20, 1));
  const auto doubled = delayed(add)(*last, *last);
  last.reset();
  EXPECT_EQ(doubled.compute(), 42);
}

TEST(Graph, HandlesAreCopiedAndDestroyedByAnyThread) {
  const auto base = delayed(add)(1, 2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([base] {
      for (int k = 0; k < 1'000; ++k) (void)delayed(sq)(base);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(base.compute(), 3);
}

TEST(Graph, GraphsWithoutCommonTasksAreComputedAtOnceByTwoThreads) {
  std::thread other([] { EXPECT_EQ(RandomGraph(3, 500).tasks.back().compute(), RandomGraph(3, 500).values.back()); });
  EXPECT_EQ(RandomGraph(4, 500).tasks.back().compute(), RandomGraph(4, 500).values.back());
  other.join();
}

TEST(Graph, TasksThatAreBeingComputedAreRefused) {
  const auto base = delayed(add, "base")(1, 2);
  const auto outer = delayed([base](int x) { return x + base.compute(); }, "outer")(base);
  expect_throw<GraphError>("task 'base' is already being computed", [&] { (void)outer.compute(); });
  EXPECT_EQ(base.compute(), 3) << "it can be computed after that";
}

TEST(Graph, ADelayedThatWasMovedAwayIsRefused) {
  auto task = delayed(add)(1, 2);
  const auto after = delayed(sq)(std::move(task));
  expect_throw<UsageError>("moved away", [&] { (void)task.compute(); });  // NOLINT: that it is refused
  EXPECT_EQ(after.compute(), 9);
}

}  // namespace
}  // namespace hogpen
