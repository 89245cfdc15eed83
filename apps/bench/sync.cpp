#include "apps/bench/suites.h"
#include "runtime/memory/shared.h"
#include "runtime/process/process.h"
#include "runtime/sync/barrier.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/semaphore.h"

namespace hogpen {
namespace {

constexpr std::size_t kLocks = 100'000;
constexpr std::size_t kLockRoundTrips = 1'000;
constexpr int kBarriers = 1'000;

double lock_nanoseconds(Mutex& mutex) {
  const double seconds = seconds_of([&] {
    for (std::size_t i = 0; i < kLocks; ++i) (void)mutex.lock();
  });
  return 1e9 * seconds / kLocks;
}

void measure_semaphores(Recorder& recorder) {
  const Shared<Semaphore> ask(0u);
  const Shared<Semaphore> reply(0u);
  Process echo = Process::start([&] {
    while (ask->acquire()) reply->release();
  });
  recorder.measure("semaphore round trip", "us", [&] {
    return median_microseconds(kLockRoundTrips, [&] {
      ask->release();
      reply->acquire();
    });
  });
}

void pass(Barrier& barrier, int times) {
  for (int i = 0; i < times; ++i) barrier.wait();
}

double barrier_microseconds() {
  const Shared<Barrier> barrier(2u);
  Process party = Process::start([&] { pass(*barrier, kBarriers + 1); });
  barrier->wait();
  const double seconds = seconds_of([&] { pass(*barrier, kBarriers); });
  party.join();
  return 1e6 * seconds / kBarriers;
}

}  // namespace

void bench_sync(Recorder& recorder) {
  const Shared<Mutex> mutex;
  recorder.measure("mutex lock and unlock", "ns", [&] { return lock_nanoseconds(*mutex); });
  measure_semaphores(recorder);
  recorder.measure("barrier of 2 processes", "us", barrier_microseconds);
}

}  // namespace hogpen
