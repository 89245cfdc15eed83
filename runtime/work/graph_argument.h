#pragma once

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/work/graph_node.h"

namespace hogpen {

template <class T>
class Delayed;

namespace detail {

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

inline constexpr std::size_t kAnyNumber = ~std::size_t{0};

/// An argument as a task keeps it. `values` makes the tuple of what its function is given of it, from the edges that
/// `connect` was called for.
template <class A>
struct Argument {  // a plain value
  static constexpr std::size_t kEdges = 0;
  A value;

  [[nodiscard]] static std::size_t edges(const A&) noexcept { return 0; }
  template <class Connect>
  static void connect(const A&, const Connect&) noexcept {}
  [[nodiscard]] std::tuple<const A&> values(const GraphEdge*&) const noexcept { return {value}; }
};

template <class T>
struct Argument<Delayed<T>> {  // a result; a void one is waited for, and no value
  static constexpr std::size_t kEdges = 1;

  explicit Argument(const Delayed<T>&) noexcept {}
  [[nodiscard]] static std::size_t edges(const Delayed<T>&) noexcept { return 1; }
  template <class Connect>
  static void connect(Delayed<T> given, const Connect& connect_one) noexcept {
    connect_one(given.node_.give_up());
  }
  [[nodiscard]] auto values(const GraphEdge*& edge) const noexcept {
    const GraphNode& node = *edge++->dependency;
    if constexpr (std::is_void_v<T>) {
      return std::tuple<>();
    } else {
      return std::tuple<const T&>(static_cast<const ResultNode<T>&>(node).result());
    }
  }
};

template <class T>
struct Argument<std::vector<Delayed<T>>> {  // several results: a vector of them
  static constexpr std::size_t kEdges = kAnyNumber;
  std::size_t count;

  explicit Argument(const std::vector<Delayed<T>>& given) noexcept : count(given.size()) {}
  [[nodiscard]] static std::size_t edges(const std::vector<Delayed<T>>& given) noexcept { return given.size(); }
  template <class Connect>
  static void connect(std::vector<Delayed<T>> given, const Connect& connect_one) noexcept {
    for (Delayed<T>& one : given) connect_one(one.node_.give_up());
  }
  [[nodiscard]] auto values(const GraphEdge*& edge) const {
    if constexpr (std::is_void_v<T>) {
      edge += count;
      return std::tuple<>();
    } else {
      std::vector<T> results;
      results.reserve(count);
      for (const GraphEdge* end = edge + count; edge != end; ++edge) {
        results.push_back(static_cast<ResultNode<T>*>(edge->dependency)->copy_or_move());
      }
      return std::tuple<std::vector<T>>(std::move(results));
    }
  }
};

}  // namespace detail
}  // namespace hogpen
