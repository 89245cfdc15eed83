#pragma once

#include <cstdint>
#include <optional>

namespace hogpen {

/// The resident memory of this process and of the children that its calling thread has forked, in bytes: a page that
/// several of them hold counts once. Empty where the kernel does not tell (/proc/…/children, smaps_rollup), and when a
/// child has ended meanwhile.
///
/// Source: the proportional set size of proc(5), which divides a page among all that map it.
[[nodiscard]] std::optional<std::uint64_t> family_memory_bytes();

}  // namespace hogpen
