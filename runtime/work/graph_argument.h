#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/work/graph_result.h"

namespace hogpen {

template <class T>
class Delayed;

namespace detail {

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
