#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace hogpen {

/// How many bytes this process may still take, and which limit says so.
struct MemoryLimit {
  std::uint64_t available_bytes = 0;
  std::string source;  ///< "MemAvailable of /proc/meminfo", or the path of the cgroup's limit
};

/// The smallest of what the system has available and of what each enclosing cgroup (v2, or the memory controller of v1)
/// still allows. `root` stands in for "/" in tests.
///
/// Throws: FormatError when /proc/meminfo has no MemAvailable; SystemError when it cannot be read.
[[nodiscard]] MemoryLimit memory_limit(const std::filesystem::path& root = "/");

/// The CPUs this process may use: its affinity mask, and no more than the cgroup's CPU quota rounded up; at least 1.
[[nodiscard]] int usable_cpus(const std::filesystem::path& root = "/");

}  // namespace hogpen
