#pragma once

#include <algorithm>
#include <chrono>

namespace hogpen {

/// A point on the monotonic clock until which to wait, or never. Pass it down unchanged through nested waits.
///
/// Sharing: a value.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] static Deadline never() noexcept { return Deadline(Clock::time_point::max()); }
  /// `never()` when the wait is too long for the clock.
  [[nodiscard]] static Deadline after(Clock::duration wait) noexcept {
    const auto now = Clock::now();
    return wait < Clock::time_point::max() - now ? Deadline(now + wait) : never();
  }

  [[nodiscard]] bool is_never() const noexcept { return at_ == Clock::time_point::max(); }
  [[nodiscard]] bool has_passed() const noexcept { return !is_never() && Clock::now() >= at_; }
  /// Zero once it has passed; `Clock::duration::max()` if it never does.
  [[nodiscard]] Clock::duration remaining() const noexcept {
    return is_never() ? Clock::duration::max() : std::max(Clock::duration::zero(), at_ - Clock::now());
  }
  /// The remaining time as poll(2) and epoll_wait(2) want it: milliseconds rounded up, -1 for never.
  [[nodiscard]] int poll_timeout() const noexcept {
    if (is_never()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(remaining()).count();
    return static_cast<int>(std::min<long long>(left, 1'000'000'000));
  }
  [[nodiscard]] Clock::time_point at() const noexcept { return at_; }
  friend bool operator<(const Deadline& a, const Deadline& b) noexcept { return a.at_ < b.at_; }

 private:
  explicit Deadline(Clock::time_point at) noexcept : at_(at) {}
  Clock::time_point at_;
};

}  // namespace hogpen
