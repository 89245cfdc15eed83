#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>

#include "runtime/core/error.h"
#include "runtime/work/graph_node.h"

namespace hogpen::detail {

/// A reference to a node.
///
/// Sharing: a value. Owns: the reference.
template <class Node>
class NodeHandle {
 public:
  /// Takes a reference over.
  explicit NodeHandle(Node* node) noexcept : node_(node) {}
  NodeHandle(const NodeHandle& other) noexcept : node_(other.node_) {
    if (node_ != nullptr) node_->retain();
  }
  NodeHandle(NodeHandle&& other) noexcept : node_(other.give_up()) {}
  NodeHandle& operator=(NodeHandle other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodeHandle() {
    if (node_ != nullptr) GraphNode::release(node_);
  }
  [[nodiscard]] Node* get() const noexcept { return node_; }
  [[nodiscard]] Node* give_up() noexcept { return std::exchange(node_, nullptr); }

 private:
  Node* node_;
};

/// A node whose result is a T; of a void one it is nothing.
///
/// Sharing: as GraphNode. Owns: the result.
template <class T>
class ResultNode : public GraphNode {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
  static constexpr bool kIsCounted = !std::is_trivially_destructible_v<Value>;

  [[nodiscard]] const Value& result() const noexcept { return place_.value; }
  /// The result, for one of those who need it: moved to the last.
  [[nodiscard]] Value copy_or_move() {
    if (kIsCounted && state.uses.load(std::memory_order_acquire) == 1) return std::move(place_.value);
    if constexpr (std::is_copy_constructible_v<Value>) {
      return place_.value;
    } else {
      throw UsageError(
          fmt::format("the result of task '{}' is needed by several, and its type cannot be copied", name()),
          "take it as an argument by const reference, or return a shared_ptr");
    }
  }
  /// As `copy_or_move`, and is one that needed it. For who is alone with the graph.
  [[nodiscard]] Value take() {
    Value value = copy_or_move();
    if (kIsCounted && take_last<true>(state.uses)) ResultNode::drop_result();
    return value;
  }
  void drop_result() noexcept override {
    if constexpr (kIsCounted) {
      if (std::exchange(has_result_, false)) std::destroy_at(&place_.value);
    }
  }

 protected:
  explicit ResultNode(NodeSlab* slab) noexcept : GraphNode(slab, kIsCounted) {}
  ~ResultNode() override { ResultNode::drop_result(); }

  /// Keeps what `make` returns, without a copy.
  template <class Make>
  void keep(const Make& make) {
    if constexpr (std::is_void_v<decltype(make())>) {
      make();
    } else {
      ::new (static_cast<void*>(std::addressof(place_.value))) Value(make());
      if constexpr (kIsCounted) has_result_ = true;
    }
  }

 private:
  union Place {
    Place() noexcept {}
    ~Place() {}
    Value value;
  } place_;
};

}  // namespace hogpen::detail
