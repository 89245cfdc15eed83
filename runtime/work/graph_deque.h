#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "runtime/work/graph_node.h"

namespace hogpen::detail {

/// Tasks that are ready: their owner takes the latest, thieves the oldest. Each task is pushed once, into one of
/// several deques, so that a buffer of as many places as there are tasks never wraps, and is written where it is used
/// alone.
///
/// Sharing: `push` and `pop` one thread, `steal` any. Owns: its buffer.
/// Source: Chase and Lev, Dynamic circular work-stealing deque, 2005, without the circle; in place of the fences of Lê
/// et al., 2013, which ThreadSanitizer does not know, the accesses themselves are sequentially consistent.
class alignas(64) GraphDeque {
 public:
  explicit GraphDeque(std::size_t tasks) : buffer_(std::make_unique_for_overwrite<GraphNode*[]>(tasks)) {}

  void push(GraphNode* node) noexcept {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);  // its own
    buffer_[static_cast<std::size_t>(bottom)] = node;
    bottom_.store(bottom + 1, std::memory_order_release);
  }

  [[nodiscard]] GraphNode* pop() noexcept {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
    // Relaxed: thieves only ever make it more, so what looks empty is. A thread without tasks of its own disturbs
    // nobody.
    if (bottom < top_.load(std::memory_order_relaxed)) return nullptr;
    bottom_.store(bottom);  // before the next: a thief looks at them the other way round
    std::int64_t top = top_.load();
    if (top < bottom) return buffer_[static_cast<std::size_t>(bottom)];
    // The last one, if it is still there.
    const bool is_mine = top == bottom && top_.compare_exchange_strong(top, top + 1);
    bottom_.store(bottom + 1, std::memory_order_relaxed);
    return is_mine ? buffer_[static_cast<std::size_t>(bottom)] : nullptr;
  }

  /// Null when there is none, or another thread was faster.
  [[nodiscard]] GraphNode* steal() noexcept {
    std::int64_t top = top_.load();
    if (top >= bottom_.load()) return nullptr;
    // A place that was taken from this end is never written again: only its last taker could have come so far down.
    GraphNode* const node = buffer_[static_cast<std::size_t>(top)];
    return top_.compare_exchange_strong(top, top + 1) ? node : nullptr;
  }

  [[nodiscard]] bool looks_empty() const noexcept {
    return top_.load(std::memory_order_relaxed) >= bottom_.load(std::memory_order_relaxed);
  }

 private:
  alignas(64) std::atomic<std::int64_t> bottom_{0};  // one behind the latest
  alignas(64) std::atomic<std::int64_t> top_{0};     // the oldest
  std::unique_ptr<GraphNode*[]> buffer_;
};

}  // namespace hogpen::detail
