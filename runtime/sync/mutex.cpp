#include "runtime/sync/mutex.h"

#include <ctime>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

void check(int error, const char* call) {
  if (error != 0) throw SystemError(call, error);
}

timespec monotonic(Deadline deadline) {
  const auto at = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.at().time_since_epoch()).count();
  return {.tv_sec = at / 1'000'000'000, .tv_nsec = at % 1'000'000'000};
}

}  // namespace

Mutex::Mutex() {
  pthread_mutexattr_t attributes;
  check(::pthread_mutexattr_init(&attributes), "pthread_mutexattr_init");
  check(::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), "pthread_mutexattr_setpshared");
  check(::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), "pthread_mutexattr_setrobust");
  check(::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK), "pthread_mutexattr_settype");
  check(::pthread_mutex_init(&mutex_, &attributes), "pthread_mutex_init");
  ::pthread_mutexattr_destroy(&attributes);
}

std::optional<Mutex::Guard> Mutex::lock(Deadline deadline) {
  int error = 0;
  if (deadline.is_never()) {
    error = ::pthread_mutex_lock(&mutex_);
  } else {
    const timespec at = monotonic(deadline);
    error = ::pthread_mutex_clocklock(&mutex_, CLOCK_MONOTONIC, &at);
  }
  if (error == ETIMEDOUT) return std::nullopt;
  if (error == EOWNERDEAD) {
    check(::pthread_mutex_consistent(&mutex_), "pthread_mutex_consistent");
    return Guard(&mutex_, true);
  }
  check(error, "pthread_mutex_lock");
  return Guard(&mutex_, false);
}

Mutex::Guard::Guard(pthread_mutex_t* mutex, bool previous_owner_died) noexcept
    : mutex_(mutex), previous_owner_died_(previous_owner_died) {}

Mutex::Guard::Guard(Guard&& other) noexcept
    : mutex_(std::exchange(other.mutex_, nullptr)), previous_owner_died_(other.previous_owner_died_) {}

Mutex::Guard::~Guard() {
  if (mutex_) ::pthread_mutex_unlock(mutex_);
}

}  // namespace hogpen
