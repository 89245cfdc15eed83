#include "runtime/work/pool.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <numeric>
#include <set>
#include <string>
#include <thread>

#include "runtime/sync/counter.h"
#include "runtime/sync/event.h"
#include "tests/footprint.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

const Deadline kPatience = Deadline::after(100s);

// The same bodies on processes and on threads.
class PoolOf : public LeavesNothing<testing::TestWithParam<WorkersAs>> {
 protected:
  [[nodiscard]] static PoolOptions options(int workers = 2) { return {.workers = workers, .workers_as = GetParam()}; }
  [[nodiscard]] static bool is_of_processes() { return GetParam() == WorkersAs::processes; }
};
INSTANTIATE_TEST_SUITE_P(, PoolOf, testing::Values(WorkersAs::processes, WorkersAs::threads), [](const auto& tested) {
  return tested.param == WorkersAs::processes ? "processes" : "threads";
});

std::int64_t square(std::int64_t value) {
  return value * value;
}

std::vector<std::int64_t> numbers(std::size_t count) {
  std::vector<std::int64_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST_P(PoolOf, AppliesAFunctionToItsArguments) {
  Pool pool(options());
  EXPECT_EQ(pool.apply(square, 7), 49);
  EXPECT_EQ(pool.apply([](int a, const std::string& b) { return b + std::to_string(a); }, 1, std::string("n")), "n1");
  const std::int64_t captured = 5;
  EXPECT_EQ(pool.apply([captured] { return captured; }), 5);
}

TEST_P(PoolOf, MapsNoneOneAndManyItemsInTheirOrder) {
  Pool pool(options());
  for (const std::size_t count : {0u, 1u, 2u, 7u, 8u, 9u, 1'000u, 100'000u}) {
    std::vector<std::int64_t> expected = numbers(count);
    for (std::int64_t& value : expected) value *= value;
    for (const std::uint64_t chunk_size : {std::uint64_t{0}, std::uint64_t{3}, kAutomaticChunks}) {
      EXPECT_EQ(pool.map(square, numbers(count), {.chunk_size = chunk_size}), expected) << count << ' ' << chunk_size;
    }
  }
}

TEST_P(PoolOf, MapsChunksOfOne) {
  Pool pool(options());
  const auto results = pool.map(square, numbers(5'000), {.chunk_size = 1});
  ASSERT_EQ(results.size(), 5'000u);
  EXPECT_EQ(results[4'999], 4'999 * 4'999);
}

TEST_P(PoolOf, MapsStringsAndVectors) {
  Pool pool(options());
  const std::vector<std::string> words = {"a", "", std::string(100'000, 'x')};
  const auto doubled = pool.map([](const std::string& word) { return word + word; }, words, {.chunk_size = 1});
  ASSERT_EQ(doubled.size(), 3u);
  EXPECT_EQ(doubled[0], "aa");
  EXPECT_EQ(doubled[1], "");
  EXPECT_EQ(doubled[2], std::string(200'000, 'x'));
  const std::vector<std::vector<int>> rows = {{1, 2}, {}, {3}};
  EXPECT_EQ(pool.map([](const std::vector<int>& row) { return static_cast<int>(row.size()); }, rows),
            (std::vector<int>{2, 0, 1}));
  EXPECT_EQ(pool.map([](int value) { return value > 1; }, std::vector{1, 2}), (std::vector{false, true}));
}

TEST_P(PoolOf, StarmapsTuplesOfArguments) {
  Pool pool(options());
  const std::vector<std::tuple<int, int>> pairs = {{1, 2}, {3, 4}};
  EXPECT_EQ(pool.starmap([](int a, int b) { return a * b; }, pairs), (std::vector{2, 12}));
}

TEST_P(PoolOf, RunsTasksThatReturnNothing) {
  Pool pool(options());
  const Shared<Counter> counter;
  Counter* address = &*counter;  // the same in all workers
  pool.map([address](int amount) { address->add(static_cast<std::uint64_t>(amount)); }, std::vector{1, 2, 3});
  pool.apply([address] { address->add(10); });
  EXPECT_EQ(counter->value(), 16u);
}

TEST_P(PoolOf, HoldsMoreResultsThanItHasSlots) {
  Pool pool(options());
  std::vector<AsyncResult<std::int64_t>> results;
  for (std::int64_t i = 0; i < 3 * JobTable::kSlots; ++i) results.push_back(pool.apply_async(square, i));
  for (std::int64_t i = 0; i < 3 * JobTable::kSlots; ++i) ASSERT_EQ(results[i].get(kPatience), i * i);
}

TEST_P(PoolOf, ForgetsResultsThatNobodyWants) {
  Pool pool(options());
  for (int i = 0; i < 3'000; ++i) (void)pool.apply_async(square, i);
  EXPECT_EQ(pool.apply(square, 3), 9);
}

TEST_P(PoolOf, TellsTypeTextAndIndexOfAnException) {
  Pool pool(options());
  const auto task = [](std::int64_t value) -> std::int64_t {
    if (value >= 40) throw std::out_of_range("too large: " + std::to_string(value));
    return value;
  };
  auto result = pool.map_async(task, numbers(100), {.chunk_size = 1});
  try {
    (void)result.get(kPatience);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const TaskError& error) {
    EXPECT_EQ(error.index(), 40u);
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_STREQ(error.what(), "task 40 threw std::out_of_range: too large: 40");
  }
  EXPECT_FALSE(result.successful());
  EXPECT_EQ(pool.apply(square, 2), 4) << "the pool must go on";
}

struct NotSendable : std::exception {
  explicit NotSendable(int* pointer) : state(pointer) {}
  int* state;
};

// In Python the worker dies, or the pool hangs, when the exception itself cannot be pickled.
TEST_P(PoolOf, ComplaintAnExceptionThatCannotBeSent) {
  Pool pool(options());
  EXPECT_THROW(pool.apply([]() -> int { throw NotSendable(nullptr); }), TaskError);
  EXPECT_THROW(pool.apply([]() -> int { throw 42; }), TaskError);
  EXPECT_THROW(pool.apply([]() -> int { throw std::runtime_error(std::string(10 << 20, 'x')); }), TaskError);
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_P(PoolOf, CallsCallbacksInTheThreadThatWaits) {
  Pool pool(options());
  std::int64_t seen = 0;
  std::string error;
  auto good = pool.apply_async(square, 5);
  good.then([&](std::int64_t value) { seen = value; });
  auto bad = pool.apply_async([]() -> int { throw std::runtime_error("no"); });
  bad.then({}, [&](const std::exception_ptr& thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const TaskError& task_error) {
      error = task_error.what();
    }
  });
  good.wait(kPatience);
  bad.wait(kPatience);
  EXPECT_EQ(seen, 25);
  EXPECT_EQ(error, "task 0 threw std::runtime_error: no");
  int late = 0;
  good.then([&](std::int64_t) { ++late; });
  pool.poll();
  EXPECT_EQ(late, 1);
}

TEST_P(PoolOf, AnExceptionInACallbackComesOutOfTheCallThatRanIt) {
  Pool pool(options());
  auto result = pool.apply_async(square, 5);
  result.then([](std::int64_t) { throw std::logic_error("in a callback"); });
  EXPECT_THROW(result.wait(kPatience), std::logic_error);
  EXPECT_EQ(result.get(kPatience), 25);
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_P(PoolOf, RunsTheInitializerInEveryWorker) {
  const Shared<Counter> initialized;
  {
    PoolOptions asked = options(3);
    asked.initializer = [&] { initialized->add(); };
    Pool pool(asked);
    EXPECT_EQ(pool.apply(square, 2), 4);
    pool.close();
    EXPECT_TRUE(pool.join(kPatience));
  }
  EXPECT_EQ(initialized->value(), 3u);
}

TEST_P(PoolOf, AnInitializerThatThrowsBreaksThePoolWithItsMessage) {
  PoolOptions asked = options();
  asked.initializer = [] { throw std::runtime_error("no such device"); };
  Pool pool(asked);
  try {
    pool.apply(square, 2);
    ADD_FAILURE() << "the pool worked";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no such device"), std::string::npos) << error.what();
  }
}

TEST_P(PoolOf, ReplacesAWorkerThatHasDoneItsNumberOfTasks) {
  PoolOptions asked = options(1);
  asked.max_tasks_per_worker = 2;
  const Shared<Counter> initialized;
  asked.initializer = [&] { initialized->add(); };
  Pool pool(asked);
  const auto results = pool.map(square, numbers(7), {.chunk_size = 1});
  EXPECT_EQ(results[6], 36);
  pool.close();
  EXPECT_TRUE(pool.join(kPatience));
  EXPECT_EQ(initialized->value(), 4u);
}

TEST_P(PoolOf, CancelsWhatHasNotBegun) {
  const Shared<Event> may_go;
  const Shared<Event> has_begun;
  Event* gate = &*may_go;
  Event* begun = &*has_begun;
  Pool pool(options(1));
  auto first = pool.apply_async([gate, begun] {
    begun->set();
    gate->wait();
    return 1;
  });
  auto second = pool.apply_async(square, 2);
  ASSERT_TRUE(has_begun->wait(kPatience));
  EXPECT_FALSE(first.cancel());
  EXPECT_TRUE(second.cancel());
  EXPECT_THROW(second.get(kPatience), CancelledError);
  EXPECT_FALSE(first.ready());
  EXPECT_THROW((void)first.successful(), UsageError);
  EXPECT_THROW(first.get(Deadline::after(10ms)), TimeoutError);
  may_go->set();
  EXPECT_EQ(first.get(kPatience), 1);
}

TEST_P(PoolOf, ImapGivesResultsInOrderAndTakesNoMoreInputThanItsLookAhead) {
  Pool pool(options());
  std::int64_t taken = 0;
  auto input = std::views::iota(std::int64_t{0}, std::int64_t{500}) | std::views::transform([&](std::int64_t value) {
                 ++taken;
                 return value;
               });
  std::int64_t next = 0;
  auto stream = pool.imap(square, input, {.look_ahead = 5});
  for (const std::int64_t result : stream) {
    ASSERT_EQ(result, next * next);
    ++next;
    ASSERT_LE(taken, next + 6);
  }
  EXPECT_EQ(next, 500);
}

TEST_P(PoolOf, ImapUnorderedGivesEachResultOnceWithItsIndex) {
  Pool pool(options());
  const auto input = numbers(700);
  std::set<std::uint64_t> seen;
  auto stream = pool.imap_unordered(square, input, {.chunk_size = kAutomaticChunks});
  for (const auto& [index, value] : stream) {
    EXPECT_EQ(value, static_cast<std::int64_t>(index * index));
    EXPECT_TRUE(seen.insert(index).second);
  }
  EXPECT_EQ(seen.size(), 700u);
}

TEST_P(PoolOf, ImapGoesOnAfterATaskThatFailed) {
  Pool pool(options());
  const std::vector<int> input = {1, 2, 3};
  auto stream = pool.imap(
      [](int value) {
        if (value == 2) throw std::runtime_error("two");
        return value;
      },
      input);
  EXPECT_EQ(stream.next(kPatience), 1);
  EXPECT_THROW(stream.next(kPatience), TaskError);
  EXPECT_EQ(stream.next(kPatience), 3);
  EXPECT_EQ(stream.next(kPatience), std::nullopt);
}

TEST_P(PoolOf, FinishesAllTasksBetweenCloseAndJoin) {
  const Shared<Counter> done;
  Counter* counter = &*done;
  Pool pool(options());
  for (int i = 0; i < 200; ++i) (void)pool.apply_async([counter] { counter->add(); });
  EXPECT_THROW(pool.join(), UsageError);
  pool.close();
  EXPECT_THROW(pool.apply(square, 1), UsageError);
  EXPECT_TRUE(pool.join(kPatience));
  EXPECT_EQ(done->value(), 200u);
}

TEST_P(PoolOf, FailsWhatIsNotDoneWhenItIsTerminated) {
  const Shared<Event> never;
  Event* gate = &*never;
  auto pool = std::make_unique<Pool>(options(1));
  auto stuck = pool->apply_async([gate] { gate->wait(Deadline::after(200ms)); });
  auto waiting = pool->map_async(square, numbers(10));
  auto late = pool->apply_async([] { return std::string(1'000, 'x'); });
  pool.reset();
  EXPECT_THROW(waiting.get(kPatience), CancelledError);
  EXPECT_THROW(late.get(kPatience), CancelledError);
}

TEST_P(PoolOf, IsUsedByManyThreadsAtOnce) {
  Pool pool(options());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (std::int64_t n = 0; n < 300; ++n) wrong += pool.apply(square, n) != n * n;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(PoolOf, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(Pool(PoolOptions{.workers = -1, .workers_as = GetParam()}), UsageError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 100'000, .workers_as = GetParam()}), UsageError);
  if (!is_of_processes()) {
    EXPECT_THROW(Pool(PoolOptions{.workers_as = GetParam(), .task_timeout = 1s}), UsageError);
  }
}

}  // namespace
}  // namespace hogpen
