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

// Sections under a lock are short, and to sleep and be woken takes longer than most of them. EBUSY when it stays held.
int try_for_a_while(pthread_mutex_t* mutex) {
  int error = ::pthread_mutex_trylock(mutex);
  for (int pauses = 1; error == EBUSY && pauses <= 64; pauses *= 2) {
    for (int i = 0; i < pauses; ++i) relax_cpu();
    error = ::pthread_mutex_trylock(mutex);
  }
  return error;
}

timespec timespec_of(std::chrono::nanoseconds since) {
  return {.tv_sec = since.count() / 1'000'000'000, .tv_nsec = since.count() % 1'000'000'000};
}

int lock_until(pthread_mutex_t* mutex, Deadline deadline) {
#if defined(__SANITIZE_THREAD__)
  // GCC 12's ThreadSanitizer does not see that pthread_mutex_clocklock locks, and reports races under the lock.
  const timespec at = timespec_of(std::chrono::system_clock::now().time_since_epoch() + deadline.remaining());
  return ::pthread_mutex_timedlock(mutex, &at);
#else
  const timespec at = timespec_of(deadline.at().time_since_epoch());
  return ::pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
#endif
}

// In slices: a waiter that is woken and then killed takes the wake-up along, and if a third has taken the lock
// meanwhile, neither the kernel nor that one wakes the others (tests/spin/robust_mutex.pml).
int sleep_for(pthread_mutex_t* mutex, Deadline deadline) {
  for (;;) {
    const int error = lock_until(mutex, std::min(deadline, Deadline::after(WaitPoint::kLongestSleep)));
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
