#pragma once

#include <atomic>
#include <cstdint>

namespace hogpen {

/// A number that many count up together, on a cache line of its own. Place it in shared memory.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class alignas(64) Counter {
 public:
  explicit Counter(std::uint64_t start = 0) noexcept : value_(start) {}

  /// Adds and returns the value before: of several callers no two get the same.
  std::uint64_t add(std::uint64_t amount = 1) noexcept {
    // Relaxed: the number alone is handed out; it publishes no data.
    return value_.fetch_add(amount, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_;
};

}  // namespace hogpen
