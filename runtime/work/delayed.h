#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/work/graph_run.h"
#include "runtime/work/graph_task.h"

namespace hogpen {

namespace detail {
void write_dot(const std::filesystem::path& path, std::span<GraphNode* const> targets);

template <class T>
struct Target;  // what `compute` can be given
}  // namespace detail

/// What a task will have computed.
///
/// Sharing: runtime/work/graph.h. Owns: a reference to the task, which keeps those that it needs.
template <class T>
class Delayed {
 public:
  /// Throws: GraphError; what `options.progress` throws; as ReplacementFile when the trace cannot be written.
  T compute(const ComputeOptions& options = {}) const { return compute_by(nullptr, options); }
  T compute(Executor& executor, const ComputeOptions& options = {}) const { return compute_by(&executor, options); }

  /// Writes the graph as a DOT file: `dot -Tsvg graph.dot`. Throws: as ReplacementFile.
  void visualize(const std::filesystem::path& path) const { detail::write_dot(path, std::array{node()}); }

 private:
  friend struct detail::Argument<Delayed>;
  friend struct detail::Argument<std::vector<Delayed>>;
  friend struct detail::Target<Delayed>;
  template <class F>
  friend class DelayedFunction;
  explicit Delayed(detail::ResultNode<T>* node) noexcept : node_(node) {}

  [[nodiscard]] detail::GraphNode* node() const noexcept { return node_.get(); }
  T compute_by(Executor* executor, const ComputeOptions& options) const {
    const std::array targets = {node()};
    detail::GraphRun run(targets, options);
    run.compute(executor);
    if constexpr (!std::is_void_v<T>) return node_.get()->take();
  }

  detail::NodeHandle<detail::ResultNode<T>> node_;
};

/// What `delayed` makes of a function.
///
/// Sharing: as F. Owns: the function.
template <class F>
class DelayedFunction {
 public:
  DelayedFunction(F function, detail::TaskLabelPointer label)
      : function_(std::move(function)), memory_(std::move(label)) {}

  /// A task that will call the function with these.
  template <class... Arguments>
  auto operator()(Arguments&&... arguments) const {
    constexpr bool kTakesThem = detail::kCanTake<F, detail::ValuesOf<detail::Argument<std::decay_t<Arguments>>...>>;
    static_assert(kTakesThem,
                  "delayed: the function cannot be called with these arguments. It is given plain values and "
                  "results as const T&, those of a vector of Delayed<T> as std::vector<T>, no Delayed<void>");
    if constexpr (kTakesThem) {
      using Node = detail::TaskNode<F, detail::Argument<std::decay_t<Arguments>>...>;
      return Delayed<typename Node::Result>(memory_.make<Node>(function_, std::forward<Arguments>(arguments)...));
    }
  }

 private:
  F function_;
  mutable detail::NodeMemory memory_;
};

/// Puts the calls of a function off. `name` is what errors, traces and drawings call its tasks; without one they say
/// where `delayed` was called: "main.cpp:12". The function is called as const, by several threads at once.
template <class F>
auto delayed(F function, std::string name = {}, std::source_location where = std::source_location::current()) {
  static_assert(!detail::NamedTaskTraits<F>::value, "delay the function itself: a NamedTask is for Pool's own calls");
  return DelayedFunction<F>(std::move(function), c10::make_intrusive<detail::TaskLabel>(std::move(name), where));
}

}  // namespace hogpen
