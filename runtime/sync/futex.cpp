#include "runtime/sync/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "runtime/core/error.h"

namespace hogpen {

void futex_wait(const FutexWord& word, std::uint32_t expected, Deadline deadline) {
  timespec timeout{};
  if (!deadline.is_never()) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.remaining()).count();
    if (left == 0) return;
    timeout = {.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
  }
  const long result =
      ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, deadline.is_never() ? nullptr : &timeout, nullptr, 0);
  if (result < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
    throw SystemError("futex(FUTEX_WAIT)", errno);
}

void futex_wake_one(const FutexWord& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void futex_wake_all(const FutexWord& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace hogpen
