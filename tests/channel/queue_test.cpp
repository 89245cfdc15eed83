#include "runtime/channel/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/memory/shared_heap.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(Queue, GivesNothingWhenThereIsNothing) {
  Queue<int> queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.get(now()), std::nullopt);
  EXPECT_EQ(queue.get(Deadline::after(20ms)), std::nullopt);
}

TEST(Queue, GivesWhatWasPutInItsOrder) {
  Queue<std::string> queue;
  for (const char* text : {"one", "", "three"}) queue.put(text);
  EXPECT_EQ(queue.size(), 3);
  EXPECT_EQ(queue.get(), "one");
  EXPECT_EQ(queue.get(), "");
  EXPECT_EQ(queue.get(), "three");
  EXPECT_TRUE(queue.empty());
}

TEST(Queue, ACopyIsAHandleToTheSameQueue) {
  Queue<int> queue;
  Queue<int> copy = queue;
  copy.put(1);
  EXPECT_EQ(queue.get(now()), 1);
}

TEST(Queue, TakesNoMoreMessagesThanItsCapacity) {
  Queue<int> queue({.capacity = 2});
  EXPECT_TRUE(queue.put(1, now()));
  EXPECT_FALSE(queue.full());
  EXPECT_TRUE(queue.put(2, now()));
  EXPECT_TRUE(queue.full());
  EXPECT_FALSE(queue.put(3, Deadline::after(20ms)));
  EXPECT_EQ(queue.get(), 1);
  EXPECT_TRUE(queue.put(3, now()));
  EXPECT_EQ(queue.get(), 2);
  EXPECT_EQ(queue.get(), 3);
}

TEST(Queue, TakesNoMoreBytesThanItsRing) {
  Queue<std::uint64_t> queue({.bytes = 1024});
  std::uint64_t put = 0;
  while (queue.put(put, now())) ++put;
  EXPECT_EQ(put, 1024 / 16);
  EXPECT_TRUE(queue.full());
  for (std::uint64_t i = 0; i < put; ++i) EXPECT_EQ(queue.get(now()), i);
}

// Messages of every length at every place of a small ring: each must come back as it was.
TEST(Queue, WrapsMessagesOfAnyLengthAroundTheEndOfTheRing) {
  Queue<std::string> queue({.bytes = 512});
  std::size_t put = 0, got = 0;
  const auto text = [](std::size_t i) { return std::string((i * 7) % 100, static_cast<char>('a' + i % 26)); };
  while (got < 20'000) {
    while (queue.put(text(put), now())) ++put;
    for (std::size_t n = 1 + got % 5; n > 0 && got < put; --n) ASSERT_EQ(queue.get(now()), text(got++));
  }
}

TEST(Queue, PutsWhatIsTooLargeForTheRingIntoTheHeapAndGivesItBack) {
  Queue<std::string> queue({.bytes = 256});
  const std::size_t before = shared_heap_use().blocks;
  const std::string large(10'000, 'x');
  int put = 0;
  while (queue.put(large, now())) ++put;
  EXPECT_EQ(put, 256 / 16);
  EXPECT_EQ(shared_heap_use().blocks, before + static_cast<std::size_t>(put));
  while (const auto text = queue.get(now())) EXPECT_EQ(*text, large);
  EXPECT_EQ(shared_heap_use().blocks, before);
}

// A type that lies in a block of the heap.
struct Handle {
  SharedBlock block;
};

}  // namespace

template <>
struct Codec<Handle> {
  static void encode(Encoder& to, const Handle& handle) {
    to.value(handle.block.id());
    to.blocks.push_back(handle.block.id());
  }
  static Handle decode(Decoder& from) { return {SharedBlock::open(from.value<BlockId>())}; }
};

namespace {

TEST(Queue, KeepsTheBlocksOfAMessageUntilItIsTaken) {
  Queue<std::vector<Handle>> queue({.capacity = 1, .bytes = 256});
  for (const std::size_t count : {1, 3, 1000}) {  // of 1000 the list of blocks, too, is too large for the ring
    const std::size_t before = shared_heap_use().blocks;
    std::vector<Handle> sent;
    for (std::size_t i = 0; i < count; ++i) {
      sent.push_back({SharedBlock::allocate(8)});
      *reinterpret_cast<std::size_t*>(sent.back().block.data()) = i;
    }
    EXPECT_TRUE(queue.put(sent, now()));
    EXPECT_FALSE(queue.put(sent, now()));
    sent.clear();
    EXPECT_GE(shared_heap_use().blocks, before + count);
    const auto got = queue.get(now());
    ASSERT_EQ(got->size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(*reinterpret_cast<const std::size_t*>((*got)[i].block.data()), i);
    }
    EXPECT_EQ(shared_heap_use().blocks, before + count);
  }
  EXPECT_EQ(shared_heap_use().blocks, 0);
}

TEST(Queue, GivesWhatIsLeftAfterItWasClosedAndThenNothing) {
  Queue<int> queue;
  queue.put(1);
  EXPECT_FALSE(queue.closed());
  queue.close();
  EXPECT_TRUE(queue.closed());
  EXPECT_THROW(queue.put(2), ClosedError);
  EXPECT_EQ(queue.get(), 1);
  EXPECT_EQ(queue.get(), std::nullopt);  // at once
}

TEST(Queue, CloseWakesWhoWaits) {
  Queue<int> empty;
  Queue<int> full({.capacity = 1});
  full.put(0);
  std::thread getter([&] { EXPECT_EQ(empty.get(), std::nullopt); });
  std::thread putter([&] { EXPECT_THROW(full.put(1), ClosedError); });
  std::this_thread::sleep_for(20ms);
  empty.close();
  full.close();
  getter.join();
  putter.join();
}

// An encoder that fails half-way.
struct Refuses {};

}  // namespace

template <>
struct Codec<Refuses> {
  static void encode(Encoder& to, const Refuses&) {
    to.value(1);
    throw UsageError("this cannot be sent");
  }
  static Refuses decode(Decoder&) { throw Error("this cannot be read"); }
};

namespace {

TEST(Queue, IsLeftAsItWasByAnEncoderThatThrows) {
  Queue<Refuses> queue;
  EXPECT_THROW(queue.put({}), UsageError);
  EXPECT_TRUE(queue.empty());
}

TEST(Queue, DropsAMessageThatCannotBeDecodedAndGoesOn) {
  Queue<int> queue;
  queue.put(1);
  queue.put(2);
  EXPECT_THROW(queue.records().get([](auto) { throw Error("this cannot be read"); }, now()), Error);
  EXPECT_EQ(queue.get(now()), 2);
}

// Every message of every producer arrives once, and those of one producer, at one consumer, in their order.
TEST(Queue, LosesAndDoublesNothingBetweenManyThreads) {
  constexpr int kProducers = 3, kConsumers = 3, kMessages = 5'000;
  Queue<std::pair<int, int>> queue({.bytes = 4096});
  std::vector<std::vector<std::pair<int, int>>> got(kConsumers);
  std::vector<std::thread> producers, consumers;
  for (int id = 0; id < kProducers; ++id) {
    producers.emplace_back([&, id] {
      for (int i = 0; i < kMessages; ++i) ASSERT_TRUE(queue.put({id, i}, soon()));
    });
  }
  for (int id = 0; id < kConsumers; ++id) {
    consumers.emplace_back([&, id] {
      while (const auto message = queue.get(soon())) got[static_cast<std::size_t>(id)].push_back(*message);
    });
  }
  for (auto& producer : producers) producer.join();
  queue.close();
  for (auto& consumer : consumers) consumer.join();
  std::set<std::pair<int, int>> all;
  for (const auto& mine : got) {
    std::vector<int> last(kProducers, -1);
    for (const auto& [id, number] : mine) {
      EXPECT_LT(std::exchange(last[static_cast<std::size_t>(id)], number), number);
      EXPECT_TRUE(all.insert({id, number}).second);
    }
  }
  EXPECT_EQ(all.size(), kProducers * kMessages);
}

TEST(Queue, RefusesWhatItCannotBe) {
  EXPECT_THROW(Queue<int>({.bytes = std::size_t{1} << 40}), UsageError);
  EXPECT_THROW(Queue<int>({.capacity = std::size_t{1} << 31}), UsageError);
}

TEST(SimpleQueue, PutsAndGets) {
  SimpleQueue<std::string> queue;
  EXPECT_TRUE(queue.empty());
  queue.put("hog");
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.get(), "hog");
  queue.close();
  EXPECT_EQ(queue.get(), std::nullopt);
}

TEST(JoinableQueue, JoinWaitsForTheLastTask) {
  JoinableQueue<int> queue;
  EXPECT_TRUE(queue.join(now()));
  queue.put(1);
  queue.put(2);
  (void)queue.get();
  queue.task_done();
  EXPECT_FALSE(queue.join(Deadline::after(20ms)));
  std::thread worker([&] {
    std::this_thread::sleep_for(20ms);
    (void)queue.get();
    queue.task_done();
  });
  EXPECT_TRUE(queue.join(soon()));
  worker.join();
}

TEST(JoinableQueue, RefusesMoreTasksDoneThanTaken) {
  JoinableQueue<int> queue;
  EXPECT_THROW(queue.task_done(), UsageError);
  queue.put(1);
  EXPECT_THROW(queue.task_done(), UsageError);
  (void)queue.get();
  queue.task_done();
  EXPECT_THROW(queue.task_done(), UsageError);
}

}  // namespace
}  // namespace hogpen
