#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>

#include <atomic>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/memory/shared.h"
#include "runtime/process/process.h"
#include "runtime/sync/barrier.h"
#include "runtime/sync/condition.h"
#include "runtime/sync/counter.h"
#include "runtime/sync/event.h"
#include "runtime/sync/semaphore.h"
#include "runtime/sync/shared_array.h"
#include "tests/footprint.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;

using SyncFault = LeavesNothing<>;

// Two numbers that are equal whenever nobody is in the critical section.
struct Pair {
  std::int64_t first = 0;
  std::int64_t second = 0;
};

struct Tally {
  Counter rounds;
  Counter deaths_noticed;
  Counter repaired;
  Counter found_torn;
};

void work_in_the_critical_section(const SharedValue<Pair>& pair, Tally& tally) {
  for (;;) {
    const auto guard = pair.lock();
    if (guard.previous_owner_died()) {
      tally.deaths_noticed.add();
      if (pair->first != pair->second) tally.repaired.add();
      pair->second = pair->first;
    }
    if (pair->first != pair->second) tally.found_torn.add();
    std::atomic_ref(pair->first).fetch_add(1);  // not merged with the next
    for (int i = 0; i < 200; ++i) relax_cpu();  // a section long enough to be killed in
    std::atomic_ref(pair->second).fetch_add(1);
    tally.rounds.add();
  }
}

TEST_F(SyncFault, AThousandKillsInACriticalSectionBlockNobodyAndAreAllNoticed) {
  constexpr int kKills = 1'000;
  constexpr std::size_t kWorkers = 3;
  const SharedValue<Pair> pair;
  const Shared<Tally> tally;
  std::mt19937 random(1);  // NOLINT: the same run each time
  const auto start = [&] { return Process::start([&] { work_in_the_critical_section(pair, *tally); }); };
  std::vector<Process> workers;
  for (std::size_t i = 0; i < kWorkers; ++i) workers.push_back(start());
  for (int kill = 0; kill < kKills; ++kill) {
    const std::uint64_t rounds = tally->rounds.value();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
    Process& victim = workers[random() % kWorkers];
    victim.kill();
    ASSERT_TRUE(victim.wait(Deadline::after(kPatience)).has_value());
    victim = start();
    ASSERT_TRUE(wait_until(kPatience, [&] { return tally->rounds.value() != rounds; }))
        << "nobody goes on after kill " << kill;
  }
  workers.clear();
  const auto guard = pair.lock(Deadline::after(kPatience));
  ASSERT_TRUE(guard.has_value());
  EXPECT_EQ(tally->found_torn.value(), 0u);
  EXPECT_GT(tally->repaired.value(), 0u) << "no kill has hit the middle of a section: the test shows nothing";
  EXPECT_GE(tally->deaths_noticed.value(), tally->repaired.value());
}

// One that was woken is killed before it has the lock, and a third has taken the lock meanwhile: the third does not
// know of those who still sleep, and wakes nobody. Taking the mark of sleepers off the mutex leaves it as that does.
TEST_F(SyncFault, AWakeUpThatAKilledWaiterTookAlongIsNotMissedByTheNext) {
  const Shared<Mutex> mutex;
  auto& word = reinterpret_cast<std::atomic<std::uint32_t>&>(*mutex);  // __lock comes first in glibc
  std::optional guard = mutex->lock(Deadline::after(kPatience));
  ASSERT_TRUE(guard.has_value());
  Process waiter = Process::start([&] { (void)mutex->lock(); });
  ASSERT_TRUE(wait_until(kPatience, [&] { return (word & FUTEX_WAITERS) != 0; })) << "the waiter does not sleep";
  std::this_thread::sleep_for(10ms);  // from the mark to the sleep
  word &= ~FUTEX_WAITERS;
  guard.reset();
  EXPECT_TRUE(waiter.wait(Deadline::after(5s)).has_value()) << "it sleeps beside a free lock";
}

TEST_F(SyncFault, ABarrierWhosePartyDiedBreaksAndNamesIt) {
  const Shared<Barrier> barrier(2u);
  Process party = Process::start([&] {
    barrier->wait();
    for (;;) ::pause();
  });
  ASSERT_TRUE(barrier->wait(Deadline::after(kPatience)));
  const int pid = party.pid();
  std::thread killer([&] {
    std::this_thread::sleep_for(20ms);
    party.kill();
  });
  try {
    barrier->wait(Deadline::after(kPatience));
    ADD_FAILURE() << "it passed, or waited in vain";
  } catch (const BrokenBarrierError& error) {
    EXPECT_EQ(std::string(error.what()), fmt::format("the barrier is broken: its party with pid {} died", pid));
  }
  killer.join();
}

TEST_F(SyncFault, ABarrierBreaksForAllPartiesWhenOneDied) {
  const Shared<Barrier> barrier(4u);
  const auto party = [&](bool dies) {
    return Process::start([&barrier, dies] {
      barrier->wait();
      if (dies) ::raise(SIGKILL);
      try {
        barrier->wait();
      } catch (const BrokenBarrierError&) {
        ::_exit(17);
      }
    });
  };
  std::vector<Process> parties;
  for (const bool dies : {false, true, false}) parties.push_back(party(dies));
  ASSERT_TRUE(barrier->wait(Deadline::after(kPatience)));
  EXPECT_THROW(barrier->wait(Deadline::after(kPatience)), BrokenBarrierError);
  EXPECT_EQ(parties[0].wait(Deadline::after(kPatience))->exit_code, 17);
  EXPECT_EQ(parties[1].wait(Deadline::after(kPatience))->signal, SIGKILL);
  EXPECT_EQ(parties[2].wait(Deadline::after(kPatience))->exit_code, 17);
}

TEST_F(SyncFault, APermitComesBackWhenItsHolderDied) {
  const Shared<BoundedSemaphore> semaphore(1u);
  const Shared<Event> is_held;
  Process holder = Process::start([&] {
    const auto permit = semaphore->acquire();
    is_held->set();
    for (;;) ::pause();
  });
  ASSERT_TRUE(is_held->wait(Deadline::after(kPatience)));
  EXPECT_FALSE(semaphore->acquire(Deadline::after(100ms)).has_value());
  holder.kill();
  const auto permit = semaphore->acquire(Deadline::after(kPatience));
  ASSERT_TRUE(permit.has_value());
  EXPECT_TRUE(permit->previous_holder_died());
}

TEST_F(SyncFault, AStoppedHolderDelaysTheOthersUntilItGoesOn) {
  const Shared<Mutex> mutex;
  const Shared<Event> is_held;
  const Shared<Event> may_end;
  Process holder = Process::start([&] {
    const auto guard = mutex->lock();
    is_held->set();
    may_end->wait();
  });
  ASSERT_TRUE(is_held->wait(Deadline::after(kPatience)));
  holder.signal(SIGSTOP);
  may_end->set();
  EXPECT_FALSE(mutex->lock(Deadline::after(1s)).has_value());
  holder.signal(SIGCONT);
  const auto guard = mutex->lock(Deadline::after(kPatience));
  ASSERT_TRUE(guard.has_value());
  EXPECT_FALSE(guard->previous_owner_died());
  EXPECT_TRUE(holder.join(Deadline::after(kPatience)));
}

// Kills some of those who wait; the others must all be let go by what comes then.
TEST_F(SyncFault, KilledWaitersTakeNobodyAlong) {
  constexpr int kWaiters = 6;
  const Shared<Mutex> mutex;
  const Shared<Condition> changed;
  const Shared<Event> event;
  const Shared<Semaphore> semaphore(0u);
  const Shared<std::atomic<int>> is_ready(0);
  const Shared<Counter> arrived;
  const Shared<Counter> gone;
  std::vector<Process> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.push_back(Process::start([&] {
      arrived->add();
      event->wait();
      semaphore->acquire();
      auto guard = mutex->lock();
      changed->wait(guard, [&] { return is_ready->load() != 0; });
      gone->add();
    }));
  }
  ASSERT_TRUE(wait_until(kPatience, [&] { return arrived->value() == kWaiters; }));
  std::this_thread::sleep_for(20ms);  // They sleep by now.
  waiters[0].kill();
  event->set();
  std::this_thread::sleep_for(20ms);
  waiters[1].kill();
  semaphore->release(kWaiters);
  std::this_thread::sleep_for(20ms);
  waiters[2].kill();
  {
    const auto guard = mutex->lock(Deadline::after(kPatience));
    ASSERT_TRUE(guard.has_value());
    is_ready->store(1);
    changed->notify_all();
  }
  for (int i = 3; i < kWaiters; ++i) EXPECT_TRUE(waiters[i].join(Deadline::after(kPatience)));
  EXPECT_EQ(gone->value(), 3u);
}

TEST_F(SyncFault, ANotifierKilledBeforeItsNotifyIsNotMissedByWaitersOfACondition) {
  const Shared<Mutex> mutex;
  const Shared<Condition> changed;
  const Shared<std::atomic<int>> is_ready(0);
  auto guard = mutex->lock();
  Process notifier = Process::start([&] {
    const auto held = mutex->lock();
    is_ready->store(1);
    ::raise(SIGKILL);  // It dies with the lock, and nobody is notified.
  });
  EXPECT_TRUE(changed->wait(guard, [&] { return is_ready->load() != 0; }, Deadline::after(5s)));
  EXPECT_TRUE(guard.previous_owner_died());
  EXPECT_FALSE(changed->wait(guard, [] { return false; }, Deadline::after(120ms)));
  EXPECT_TRUE(guard.previous_owner_died()) << "forgotten in a later wait, before anybody could have repaired the data";
  EXPECT_EQ(notifier.wait(Deadline::after(kPatience))->signal, SIGKILL);
}

TEST_F(SyncFault, ASharedArrayIsSeenByAllAndItsLockMakesSumsRight) {
  constexpr int kProcesses = 3;
  constexpr int kRounds = 2'000;
  const SharedArray<std::int64_t> array(4, 1);
  std::vector<Process> processes;
  for (int i = 0; i < kProcesses; ++i) {
    processes.push_back(Process::start([&] {
      for (int round = 0; round < kRounds; ++round) {
        const auto guard = array.lock();
        for (std::int64_t& element : array.span()) ++element;
      }
    }));
  }
  for (Process& process : processes) EXPECT_TRUE(process.join(Deadline::after(kPatience)));
  for (const std::int64_t element : array) EXPECT_EQ(element, 1 + kProcesses * kRounds);
  EXPECT_THROW((void)array.at(4), UsageError);
  EXPECT_THROW(SharedArray<int>(0), UsageError);
}

TEST_F(SyncFault, ManySharedObjectsMadeAndDroppedLeaveNothing) {
  for (int i = 0; i < 20'000; ++i) {
    const Shared<Mutex> mutex;
    const SharedValue<int> value(i);
    const auto guard = mutex->lock();
    ASSERT_EQ(*value, i);
  }
}

}  // namespace
}  // namespace hogpen
