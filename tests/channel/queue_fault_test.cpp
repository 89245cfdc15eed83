#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/channel/queue.h"
#include "runtime/memory/shared_heap.h"
#include "runtime/process/process.h"
#include "tests/footprint.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

using QueueFault = LeavesNothing<>;

// The producer, the number of the message, and as much more of that number as makes it small or too large for the ring.
using Message = std::vector<std::uint32_t>;
constexpr std::size_t kRingBytes = 1024;
constexpr std::size_t kSmall = 2;
constexpr std::size_t kLarge = 200;

Message make_message(std::uint32_t producer, std::uint32_t number) {
  Message message(number % 4 == 3 ? kLarge : kSmall, number);
  message[0] = producer;
  return message;
}

// What became of the messages, in shared memory, so that it outlives who wrote it.
struct Ledger {
  static constexpr std::uint32_t kProducers = 1200;  // one after the other, as they are killed
  static constexpr std::uint32_t kNumbers = 8192;    // the most messages of each
  struct Entry {
    std::atomic<std::uint32_t> put;                              // how many puts returned
    std::array<std::atomic<std::uint8_t>, kNumbers> times_seen;  // of each message
  };
  std::array<Entry, kProducers> of;
  std::atomic<std::uint32_t> torn;
  std::atomic<std::uint32_t> out_of_order;
};

void produce(Queue<Message>& queue, Ledger& ledger, std::uint32_t producer) {
  for (std::uint32_t number = 0; number < Ledger::kNumbers; ++number) {
    queue.put(make_message(producer, number));
    ++ledger.of[producer].put;
  }
  for (;;) ::pause();
}

void note(const Message& message, Ledger& ledger, std::map<std::uint32_t, std::uint32_t>& next) {
  if (message.size() < kSmall || message != make_message(message[0], message[1])) {
    ++ledger.torn;
    return;
  }
  if (message[1] < next[message[0]]) ++ledger.out_of_order;
  next[message[0]] = message[1] + 1;
  ++ledger.of[message[0]].times_seen[message[1]];
}

void consume(Queue<Message>& queue, Ledger& ledger) {
  std::map<std::uint32_t, std::uint32_t> next;
  while (const auto message = queue.get()) note(*message, ledger, next);
}

// Two producers and two consumers, of which one after the other is killed wherever it is, and replaced.
class Herd {
 public:
  Herd(Queue<Message>& queue, Ledger& ledger) : queue_(queue), ledger_(ledger) {
    for (std::size_t place = 0; place < 4; ++place) members_.push_back(start(place));
  }

  void replace(std::size_t place) {
    members_[place].kill();
    ASSERT_TRUE(members_[place].wait(soon()).has_value());
    members_[place] = start(place);
  }
  void kill_all() {
    for (Process& member : members_) {
      member.kill();
      ASSERT_TRUE(member.wait(soon()).has_value());
    }
  }
  [[nodiscard]] std::uint32_t producers() const { return producers_; }

 private:
  Process start(std::size_t place) {
    if (place >= 2) return Process::start([this] { consume(queue_, ledger_); });
    const std::uint32_t producer = producers_++;
    return Process::start([this, producer] { produce(queue_, ledger_, producer); });
  }

  Queue<Message>& queue_;
  Ledger& ledger_;
  std::uint32_t producers_ = 0;
  std::vector<Process> members_;
};

// Every message that is known to have been put was seen once, but for those whose consumer was killed after it had
// taken them and before it had noted them: how many these are, the queue's own count tells.
void expect_each_message_once(const Ledger& ledger, std::uint32_t producers, std::uint32_t taken, std::uint32_t most) {
  std::uint32_t seen = 0, missing = 0, doubled = 0, out_of_nowhere = 0;
  for (std::uint32_t producer = 0; producer < producers; ++producer) {
    const Ledger::Entry& entry = ledger.of[producer];
    for (std::uint32_t number = 0; number < Ledger::kNumbers; ++number) {
      const std::uint8_t times = entry.times_seen[number];
      seen += times;
      doubled += times > 1;
      missing += times == 0 && number < entry.put;
      out_of_nowhere += times != 0 && number > entry.put;  // one may be put and not yet counted
    }
  }
  EXPECT_EQ(doubled, 0);
  EXPECT_EQ(out_of_nowhere, 0);
  EXPECT_EQ(ledger.torn, 0);
  EXPECT_EQ(ledger.out_of_order, 0);
  EXPECT_GT(seen, producers);
  EXPECT_LE(missing, taken - seen);
  EXPECT_LE(taken - seen, most);
}

TEST_F(QueueFault, AThousandKillsInsidePutAndGetLoseAndDoubleNothing) {
  constexpr int kKills = 1000;
  const std::size_t blocks_before = shared_heap_use().blocks;
  const Segment memory = Segment::create("ledger", sizeof(Ledger));
  Ledger& ledger = *reinterpret_cast<Ledger*>(memory.data());  // all zero
  Queue<Message> queue({.bytes = kRingBytes});
  Herd herd(queue, ledger);
  std::mt19937 random(4);
  std::uint32_t consumers_killed = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
    const std::size_t place = random() % 4;
    herd.replace(place);
    consumers_killed += place >= 2;
    if (kill % 100 != 0) continue;
    herd.replace(0);  // the producers may have put all that they put
    const std::uint32_t taken = queue.records().times_taken();
    const Deadline deadline = soon();
    while (queue.records().times_taken() - taken < 10 && !deadline.has_passed()) std::this_thread::yield();
    ASSERT_GE(queue.records().times_taken() - taken, 10);
  }
  herd.kill_all();
  std::map<std::uint32_t, std::uint32_t> next;
  while (const auto message = queue.get(Deadline::after(0ms))) note(*message, ledger, next);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.records().times_put(), queue.records().times_taken());
  expect_each_message_once(ledger, herd.producers(), queue.records().times_taken(), consumers_killed + 2);
  release_shares_of_the_dead();
  EXPECT_LE(shared_heap_use().blocks, blocks_before + kKills / 10);  // a message's share leaks in a few instructions
}

TEST_F(QueueFault, WhatAKilledProducerHasPutIsThere) {
  Queue<Message> queue;
  Process producer = Process::start([&] {
    for (std::uint32_t i = 0; i < 8; ++i) queue.put(make_message(0, i));
    ::raise(SIGKILL);
  });
  (void)producer.wait(soon());
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(queue.get(soon()), make_message(0, i));
}

TEST_F(QueueFault, AParentsDeathEndsItsChildrenAndLeavesTheQueueToTheOthers) {
  Queue<int> queue({.capacity = 4});
  Process parent = Process::start([&] {
    const Process child = Process::start([&] {
      for (int i = 0;; ++i) queue.put(i);
    });
    ::pause();
  });
  EXPECT_EQ(queue.get(soon()), 0);
  parent.kill();
  (void)parent.wait(soon());
  int last = 0;
  while (const auto number = queue.get(Deadline::after(200ms))) EXPECT_EQ(*number, ++last);  // until the child has died
  EXPECT_TRUE(queue.put(-1, soon()));
  EXPECT_EQ(queue.get(soon()), -1);
}

TEST_F(QueueFault, APeerThatIsStoppedForASecondHoldsNobodyBeyondTheDeadline) {
  Queue<std::uint32_t> queue({.capacity = 4});
  std::vector<Process> producers;
  for (std::uint32_t id = 0; id < 2; ++id) {
    producers.push_back(Process::start([&, id] {
      for (std::uint32_t i = 0; i < 20'000; ++i) queue.put(2 * i + id, soon());
    }));
  }
  std::array<std::uint32_t, 2> next{};
  const auto take = [&](Deadline deadline) {
    const auto number = queue.get(deadline);
    if (number) {
      EXPECT_EQ(*number / 2, next[*number % 2]++);
    }
    return number.has_value();
  };
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(take(soon()));
  producers[0].signal(SIGSTOP);
  const Deadline second = Deadline::after(1s);
  while (!second.has_passed()) {
    const auto began = Deadline::Clock::now();
    (void)take(Deadline::after(20ms));  // whether the stopped one holds a lock or not
    EXPECT_LT(Deadline::Clock::now() - began, 500ms);
  }
  producers[0].signal(SIGCONT);
  while (next[0] < 20'000 || next[1] < 20'000) ASSERT_TRUE(take(soon()));
  for (Process& producer : producers) EXPECT_TRUE(producer.join(soon()));
}

// Python: a process that has put items into a queue waits at its end until they have been read, and join hangs.
TEST_F(QueueFault, ComplaintJoinWithUndrainedQueueItems) {
  Queue<std::string> queue;
  const std::string large(300'000, 'x');
  Process producer = Process::start([&] {
    for (int i = 0; i < 1000; ++i) queue.put(std::to_string(i));
    for (int i = 0; i < 20; ++i) queue.put(large);
  });
  EXPECT_TRUE(producer.join(soon()));
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(queue.get(soon()), std::to_string(i));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(queue.get(soon()), large);
}

}  // namespace
}  // namespace hogpen
