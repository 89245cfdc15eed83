#include "runtime/channel/thread_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(ThreadQueue, GivesWhatWasPutInItsOrder) {
  ThreadQueue<std::string> queue;
  EXPECT_EQ(queue.get(now()), std::nullopt);
  queue.put("one");
  queue.put("two");
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.get(), "one");
  queue.put("three");
  EXPECT_EQ(queue.get(), "two");
  EXPECT_EQ(queue.get(), "three");
  EXPECT_TRUE(queue.empty());
}

TEST(ThreadQueue, CarriesWhatCanOnlyBeMoved) {
  ThreadQueue<std::unique_ptr<int>> queue;
  queue.put(std::make_unique<int>(42));
  EXPECT_EQ(**queue.get(), 42);
}

TEST(ThreadQueue, TakesNoMoreThanItsCapacityAndLeavesTheValueThen) {
  ThreadQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.put(std::make_unique<int>(1), now()));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.put(std::move(second), Deadline::after(20ms)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.get(), 1);
  EXPECT_TRUE(queue.put(std::move(second), now()));
}

TEST(ThreadQueue, GivesWhatIsLeftAfterItWasClosedAndThenNothing) {
  ThreadQueue<int> queue;
  queue.put(1);
  queue.close();
  EXPECT_THROW(queue.put(2), ClosedError);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.get(), std::nullopt);
}

TEST(ThreadQueue, CloseWakesWhoWaits) {
  ThreadQueue<int> empty;
  ThreadQueue<int> full(1);
  full.put(0);
  std::thread getter([&] { EXPECT_EQ(empty.get(), std::nullopt); });
  std::thread putter([&] { EXPECT_THROW(full.put(1), ClosedError); });
  std::this_thread::sleep_for(20ms);
  empty.close();
  full.close();
  getter.join();
  putter.join();
}

void expect_each_once(std::size_t capacity, int producers, int consumers, int messages) {
  ThreadQueue<std::pair<int, int>> queue(capacity);
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(producers * messages));
  std::vector<std::thread> putting, getting;
  for (int id = 0; id < producers; ++id) {
    putting.emplace_back([&, id] {
      for (int i = 0; i < messages; ++i) ASSERT_TRUE(queue.put({id, i}, soon()));
    });
  }
  for (int id = 0; id < consumers; ++id) {
    getting.emplace_back([&] {
      std::vector<int> last(static_cast<std::size_t>(producers), -1);
      while (const auto message = queue.get(soon())) {
        const auto [from, number] = *message;
        EXPECT_LT(std::exchange(last[static_cast<std::size_t>(from)], number), number);
        ++seen[static_cast<std::size_t>(from * messages + number)];
      }
    });
  }
  for (auto& thread : putting) thread.join();
  queue.close();
  for (auto& thread : getting) thread.join();
  for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
}

TEST(ThreadQueue, LosesAndDoublesNothingBetweenManyThreads) {
  expect_each_once(0, 1, 1, 50'000);
  expect_each_once(0, 3, 3, 5'000);
  expect_each_once(1, 2, 2, 500);
  expect_each_once(100, 3, 2, 5'000);
}

}  // namespace
}  // namespace hogpen
