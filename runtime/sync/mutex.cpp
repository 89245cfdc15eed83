#include "runtime/sync/mutex.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {
namespace {

void check(int error, const char* call) {
  if (error != 0) throw SystemError(call, error);
}

timespec monotonic(Deadline deadline) {
  const auto at = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.at().time_since_epoch()).count();
  return {.tv_sec = at / 1'000'000'000, .tv_nsec = at % 1'000'000'000};
}

// Sections under a lock are short, and to sleep and be woken takes longer than most of them. EBUSY when it stays held.
int try_for_a_while(pthread_mutex_t* mutex) {
  int error = ::pthread_mutex_trylock(mutex);
  for (int pauses = 1; error == EBUSY && pauses <= 64; pauses *= 2) {
    for (int i = 0; i < pauses; ++i) relax_cpu();
    error = ::pthread_mutex_trylock(mutex);
  }
  return error;
}

// In slices: a waiter that is woken and then killed takes the wake-up along, and if a third has taken the lock
// meanwhile, neither the kernel nor that one wakes the others (tests/spin/robust_mutex.pml).
int sleep_for(pthread_mutex_t* mutex, Deadline deadline) {
  for (;;) {
    const timespec at = monotonic(std::min(deadline, Deadline::after(WaitPoint::kLongestSleep)));
    const int error = ::pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
    if (error != ETIMEDOUT || deadline.has_passed()) return error;
  }
}

}  // namespace

Mutex::Mutex(Kind kind) {
  pthread_mutexattr_t attributes;
  check(::pthread_mutexattr_init(&attributes), "pthread_mutexattr_init");
  check(::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), "pthread_mutexattr_setpshared");
  check(::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), "pthread_mutexattr_setrobust");
  const int type = kind == Kind::recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_ERRORCHECK;
  check(::pthread_mutexattr_settype(&attributes, type), "pthread_mutexattr_settype");
  check(::pthread_mutex_init(&mutex_, &attributes), "pthread_mutex_init");
  ::pthread_mutexattr_destroy(&attributes);
}

std::optional<bool> Mutex::acquire(pthread_mutex_t* mutex, Deadline deadline) {
  int error = try_for_a_while(mutex);
  if (error == EBUSY) error = sleep_for(mutex, deadline);
  if (error == ETIMEDOUT) return std::nullopt;
  if (error == EOWNERDEAD) {
    check(::pthread_mutex_consistent(mutex), "pthread_mutex_consistent");
    return true;
  }
  check(error, "pthread_mutex_lock");
  return false;
}

std::optional<Mutex::Guard> Mutex::lock(Deadline deadline) {
  const auto previous_owner_died = acquire(&mutex_, deadline);
  if (!previous_owner_died) return std::nullopt;
  return Guard(&mutex_, *previous_owner_died);
}

Mutex::Guard Mutex::lock() {
  return *lock(Deadline::never());
}

Mutex::Guard::Guard(pthread_mutex_t* mutex, bool previous_owner_died) noexcept
    : mutex_(mutex), previous_owner_died_(previous_owner_died) {}

Mutex::Guard::Guard(Guard&& other) noexcept
    : mutex_(std::exchange(other.mutex_, nullptr)), previous_owner_died_(other.previous_owner_died_) {}

Mutex::Guard::~Guard() {
  if (mutex_) ::pthread_mutex_unlock(mutex_);
}

}  // namespace hogpen
