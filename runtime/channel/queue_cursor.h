#pragma once

#include <cstdint>

namespace hogpen::detail {

/// How many messages of a queue went by and where in the ring the next one is, in one word: so that it changes in one
/// store. The tail's highest bit says that the queue is closed.
///
/// Sharing: a value.
class QueueCursor {
 public:
  static constexpr std::uint32_t kCounts = (std::uint32_t{1} << 31) - 1;
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  explicit QueueCursor(std::uint64_t word) : word_(word) {}
  [[nodiscard]] std::uint64_t word() const { return word_; }
  [[nodiscard]] bool closed() const { return (word_ & kClosed) != 0; }
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(word_ >> 32) & kCounts; }
  [[nodiscard]] std::uint32_t position() const { return static_cast<std::uint32_t>(word_); }  // in units, modulo 2^32
  [[nodiscard]] std::uint32_t messages_since(QueueCursor head) const { return (count() - head.count()) & kCounts; }
  // One message more, and all up to that position gone by.
  [[nodiscard]] QueueCursor next(std::uint32_t position) const {
    return QueueCursor(std::uint64_t{(count() + 1) & kCounts} << 32 | position);
  }

 private:
  std::uint64_t word_;
};

}  // namespace hogpen::detail
