#pragma once

#include <c10/util/intrusive_ptr.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <utility>

namespace hogpen::detail {

/// What the tasks of a function are called: its name, or where it was delayed.
struct TaskLabel : c10::intrusive_ptr_target {
  TaskLabel(std::string name_or_none, const std::source_location& place)
      : name(std::move(name_or_none)), where(place) {}
  [[nodiscard]] std::string text() const;

  std::string name;
  std::source_location where;
};
using TaskLabelPointer = c10::intrusive_ptr<TaskLabel>;

/// A piece of memory with some nodes of one function.
///
/// Sharing: `release` any thread, the rest who makes nodes. Owns: the memory, itself in it, until the last node is
/// destroyed.
class NodeSlab {
 public:
  static constexpr std::size_t kAlignment = 64;

  [[nodiscard]] static NodeSlab* make(TaskLabelPointer label, std::size_t bytes);
  /// Null when it is full. Requires: `alignment` is at most kAlignment.
  [[nodiscard]] void* take(std::size_t bytes, std::size_t alignment) noexcept {
    const std::size_t begin = (used_ + alignment - 1) / alignment * alignment;
    if (begin + bytes > bytes_) return nullptr;
    used_ = begin + bytes;
    ++taken_;
    return reinterpret_cast<std::byte*>(this) + begin;
  }
  /// No more nodes will be made in it.
  static void close(NodeSlab* slab) noexcept { drop(slab, kOpen - slab->taken_); }
  /// A node that was made in it is destroyed.
  static void release(NodeSlab* slab) noexcept { drop(slab, 1); }
  [[nodiscard]] const TaskLabel& label() const noexcept { return *label_; }

 private:
  // Instead of counting each node when it is made, more than there can be are counted in advance.
  static constexpr std::uint32_t kOpen = 1u << 30;

  NodeSlab(TaskLabelPointer label, std::size_t bytes) noexcept : label_(std::move(label)), bytes_(bytes) {}
  static void drop(NodeSlab* slab, std::uint32_t count) noexcept {
    // Acquire: whoever frees the memory is to see that the others have left it.
    if (slab->left_.fetch_sub(count, std::memory_order_acq_rel) == count) free(slab);
  }
  static void free(NodeSlab* slab) noexcept;

  TaskLabelPointer label_;
  std::size_t bytes_;
  std::size_t used_ = sizeof(NodeSlab);
  std::uint32_t taken_ = 0;
  alignas(kAlignment) std::atomic<std::uint32_t> left_{kOpen};
};

/// Where a function makes its nodes: neighbours in memory, in slabs that grow with their number. A graph is walked
/// through several times, and what that costs is how far its nodes lie apart.
///
/// Sharing: any thread. Owns: its open slab. A copy has none yet.
class NodeMemory {
 public:
  explicit NodeMemory(TaskLabelPointer label) noexcept : label_(std::move(label)) {}
  NodeMemory(const NodeMemory& other) noexcept : label_(other.label_) {}
  NodeMemory& operator=(const NodeMemory&) = delete;
  ~NodeMemory() {
    if (slab_ != nullptr) NodeSlab::close(slab_);
  }

  /// Node(slab, arguments…). Throws: what it throws; std::bad_alloc.
  template <class Node, class... Arguments>
  Node* make(Arguments&&... arguments) {
    static_assert(alignof(Node) <= NodeSlab::kAlignment, "a task's arguments and result must be aligned to 64 at most");
    const auto [slab, place] = take(sizeof(Node), std::max(alignof(Node), kLeastAlignment));
    try {
      return ::new (place) Node(slab, std::forward<Arguments>(arguments)...);
    } catch (...) {
      NodeSlab::release(slab);
      throw;
    }
  }

 private:
  static constexpr std::size_t kLeastAlignment = 32;  // so that a small node lies in two cache lines, not in three
  struct Place {
    NodeSlab* slab;
    void* memory;
  };
  [[nodiscard]] Place take(std::size_t bytes, std::size_t alignment);

  TaskLabelPointer label_;
  NodeSlab* slab_ = nullptr;
  std::size_t next_bytes_ = 0;
  std::atomic_flag is_taken_;  // by a thread; another one that comes meanwhile makes a slab for its node alone
};

}  // namespace hogpen::detail
