#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace hogpen {

/// A worker's last words, in memory that outlives it.
///
/// Sharing: written once by the worker (also from a signal handler), read by others after its end or at any time.
class CrashReport {
 public:
  /// Keeps the first `kCapacity` bytes. Safe in a signal handler. A later text replaces an earlier one.
  void set(std::string_view text) noexcept;
  void clear() noexcept { set({}); }
  [[nodiscard]] std::string text() const;

  static constexpr std::size_t kCapacity = 1000;

 private:
  std::atomic<std::uint32_t> length_{0};
  char text_[kCapacity] = {};
};

/// From now on a crash of this process (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) is described in `report` before it
/// ends it: on a stack of its own, so that a stack overflow has a report too.
///
/// Requires: `report` lives as long as the process.
void install_crash_report(CrashReport& report);

}  // namespace hogpen
