#pragma once

#include <array>
#include <filesystem>
#include <tuple>
#include <type_traits>
#include <vector>

#include "runtime/work/delayed.h"
#include "runtime/work/executor.h"
#include "runtime/work/task_error.h"

/// dask.delayed: calls that are put off, make a graph, and are computed together.
///
///     auto a = delayed(add, "add")(1, 2);
///     auto b = delayed(sq, "sq")(a);
///     int result = b.compute();
///     auto [x, y] = compute(executor, a, b);
///
/// A task is a function and its arguments: plain values; Delayed<T>, whose result it gets as const T&; and vectors of
/// Delayed<T>, whose results it gets as a std::vector<T>. A Delayed<void> is waited for, and no argument. What several
/// tasks need is computed once, and destroyed when the last of them has it. Nothing is kept: a second `compute`
/// computes again. Graphs may be 10^6 tasks deep or wide.
///
/// An Executor's place says who runs the tasks: `caller`, `threads` (also with `automatic`) or `processes`. What a Pool
/// is sent must be as its tasks are (runtime/work/pool.h): a task that is not is a UsageError before any has begun.
///
/// When a task throws, no other one is begun, and `compute` throws a GraphError that names it and the way to it.
///
/// Sharing: a Delayed may be copied and destroyed by any thread. Two that have tasks in common are computed one after
/// the other, not at once by two threads: that is a UsageError where it is seen.
namespace hogpen {

namespace detail {

// What `compute` can be given: how it is needed, and what it gives to the tuple of results.
template <class T>
struct Target : std::false_type {};

template <class T>
struct Target<Delayed<T>> : std::true_type {
  static void add(std::vector<GraphNode*>& nodes, const Delayed<T>& target) { nodes.push_back(target.node_.get()); }
  static auto take(const Delayed<T>& target) {
    if constexpr (std::is_void_v<T>) {
      return std::tuple<>();
    } else {
      return std::tuple<T>(target.node_.get()->take());
    }
  }
};

template <class T>
struct Target<std::vector<Delayed<T>>> : std::true_type {
  static void add(std::vector<GraphNode*>& nodes, const std::vector<Delayed<T>>& targets) {
    for (const Delayed<T>& target : targets) Target<Delayed<T>>::add(nodes, target);
  }
  static auto take(const std::vector<Delayed<T>>& targets) {
    if constexpr (std::is_void_v<T>) {
      return std::tuple<>();
    } else {
      std::vector<T> results;
      results.reserve(targets.size());
      for (const Delayed<T>& target : targets) results.push_back(std::get<0>(Target<Delayed<T>>::take(target)));
      return std::tuple<std::vector<T>>(std::move(results));
    }
  }
};

template <class T>
concept ComputeTarget = Target<T>::value;

template <class... Targets>
std::vector<GraphNode*> nodes_of(const Targets&... targets) {
  std::vector<GraphNode*> nodes;
  (Target<Targets>::add(nodes, targets), ...);
  return nodes;
}

template <class... Targets>
auto compute_all(Executor* executor, const ComputeOptions& options, const Targets&... targets) {
  const std::vector<GraphNode*> nodes = nodes_of(targets...);
  GraphRun run(nodes, options);
  run.compute(executor);
  return std::tuple_cat(Target<Targets>::take(targets)...);
}

}  // namespace detail

/// The results of several Delayed, or vectors of them, in a tuple: `auto [x, ys] = compute(executor, a, bs)`. Those of
/// Delayed<void> have no place in it. Without an Executor the calling thread runs all. Throws: as Delayed::compute.
template <detail::ComputeTarget... Targets>
auto compute(const Targets&... targets) {
  return detail::compute_all(nullptr, {}, targets...);
}
template <detail::ComputeTarget... Targets>
auto compute(const ComputeOptions& options, const Targets&... targets) {
  return detail::compute_all(nullptr, options, targets...);
}
template <detail::ComputeTarget... Targets>
auto compute(Executor& executor, const Targets&... targets) {
  return detail::compute_all(&executor, {}, targets...);
}
template <detail::ComputeTarget... Targets>
auto compute(Executor& executor, const ComputeOptions& options, const Targets&... targets) {
  return detail::compute_all(&executor, options, targets...);
}

/// Writes the graph of all of them as a DOT file: `dot -Tsvg graph.dot`. Throws: as ReplacementFile.
template <detail::ComputeTarget... Targets>
void visualize(const std::filesystem::path& path, const Targets&... targets) {
  detail::write_dot(path, detail::nodes_of(targets...));
}

}  // namespace hogpen
