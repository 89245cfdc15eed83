#pragma once

#include <atomic>
#include <cstdint>

#include "runtime/core/deadline.h"

namespace hogpen {

/// A word on which processes and threads sleep and wake each other. It may lie in shared memory.
using FutexWord = std::atomic<std::uint32_t>;
static_assert(FutexWord::is_always_lock_free && sizeof(FutexWord) == 4);

/// Sleeps while `word` holds `expected`, until woken or until the deadline. May return without a reason: check again.
///
/// Throws: SystemError, for anything but a wake-up, a time-out, a signal or a changed word.
void futex_wait(const FutexWord& word, std::uint32_t expected, Deadline deadline);

/// Wakes one of those who sleep on `word`, if anyone does.
void futex_wake_one(const FutexWord& word) noexcept;

/// Wakes everyone who sleeps on `word`. Safe in a signal handler.
void futex_wake_all(const FutexWord& word) noexcept;

}  // namespace hogpen
