#pragma once

#include <cstdint>

#include "runtime/core/fd.h"

namespace hogpen {

/// The number of a process: no other of its family, living or dead, ever has the same, unlike its pid.
///
/// A family is what descends from the process that called `my_life` first; a program that was exec'ed joins with
/// `join_family`. The kernel's own record of who holds a file lock tells the living from the dead, so nobody has to
/// announce a death, and a zombie counts as dead as soon as its files are closed.
enum class Life : std::uint64_t { none = 0 };

/// The number of this process. Whoever puts something into shared memory that others will watch calls it before the
/// fork, so that both belong to one family.
///
/// Sharing: any thread; a forked child gets its own. Throws: SystemError.
[[nodiscard]] Life my_life();

/// Whether that process still runs. False for `none` and for the numbers of another family.
[[nodiscard]] bool is_alive(Life life);

/// The descriptor that a program started by exec inherits and passes to `join_family` before it calls anything else
/// here.
[[nodiscard]] int family_fd();
void join_family(Fd fd);

}  // namespace hogpen
