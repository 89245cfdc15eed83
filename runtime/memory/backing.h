#pragma once

#include <cstddef>
#include <string_view>

namespace hogpen {

/// Takes the memory of a range of a memfd now, so that it is there when it is touched: a memfd that cannot be filled
/// ends in SIGBUS at first touch, or in the OOM killer shooting bystanders. What lies there already stays. `what` is
/// for the error.
///
/// Throws: SystemError(ENOMEM), before any memory is taken, when less is available than asked; SystemError of
/// posix_fallocate(3).
void take_memory(int fd, std::size_t begin, std::size_t size_bytes, std::string_view what);

/// Gives the memory of a range back to the system; it reads as zeroes afterwards, and touching it takes memory again.
/// False when the kernel refuses.
[[nodiscard]] bool give_back_memory(int fd, std::size_t begin, std::size_t size_bytes) noexcept;

}  // namespace hogpen
