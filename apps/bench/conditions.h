#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hogpen {

/// How busy the machine was and is, at one moment; zeros and empty texts where /proc and /sys do not say.
struct Conditions {
  std::string load_average;    ///< as /proc/loadavg has it, of 1, 5 and 15 minutes
  std::string governor;        ///< that sets the first CPU's clock
  std::int64_t busy = 0;       ///< ticks of all CPUs since the start of the system, of ours and of everybody
  std::int64_t stolen = 0;     ///< ticks that a virtual machine wanted and its host gave to others
  std::int64_t all = 0;        ///< busy, stolen and idle
  std::int64_t throttled = 0;  ///< how often CPUs were too hot for their clock

  /// `root` stands in for "/" in tests.
  [[nodiscard]] static Conditions now(const std::filesystem::path& root = "/");
};

/// What makes the figures worth less, a sentence each. Between `before` and `begin` this process has slept.
[[nodiscard]] std::vector<std::string> warnings_at_begin(const Conditions& before, const Conditions& begin);
/// Between `begin` and `end` it has measured.
[[nodiscard]] std::vector<std::string> warnings_at_end(const Conditions& begin, const Conditions& end);

}  // namespace hogpen
