#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "runtime/work/graph_memory.h"

namespace hogpen {

class Job;
class PoolCore;

namespace detail {

class GraphNode;
class GraphRun;

/// That the result of one task is an argument of another.
struct GraphEdge {
  GraphNode* dependency = nullptr;  ///< whose references it is one of
  GraphNode* consumer = nullptr;
  GraphEdge* next_consumer = nullptr;  ///< of the same dependency
};

/// When and by which process a task was run; the times are nanoseconds of the monotonic clock.
struct TaskTimes {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int32_t pid = 0;

  [[nodiscard]] static std::int64_t now() noexcept;
};

/// A task of a graph. It never changes but for `state` and its result, which belong to the run that has entered it.
///
/// Sharing: references may be taken and released by any thread. Owns: references to its dependencies, and its place.
class GraphNode {
 public:
  GraphNode(const GraphNode&) = delete;
  GraphNode& operator=(const GraphNode&) = delete;

  /// Runs the task in this thread and keeps its result. Throws: what the task throws.
  virtual void run() = 0;
  virtual void drop_result() noexcept = 0;
  /// Why it cannot be run by another process, as the end of "task 'x' cannot be sent to another process: "; else null.
  [[nodiscard]] virtual const char* why_unsendable() const noexcept = 0;
  /// Gives the task to a pool, its arguments copied. Requires: it is sendable.
  [[nodiscard]] virtual std::shared_ptr<Job> submit(PoolCore& pool) = 0;
  /// Keeps the result of a job that is finished. Throws: why it has failed.
  [[nodiscard]] virtual TaskTimes receive(const Job& job) = 0;

  /// Fetches both cache lines of a node that is about to be looked at: the first one alone tells of the second too
  /// late.
  static void prefetch(GraphNode* node) noexcept {
    __builtin_prefetch(node, 1);
    __builtin_prefetch(reinterpret_cast<std::byte*>(node) + 64, 1);
  }
  /// Those that the result is made of.
  void prefetch_dependencies() const noexcept {
    for (const GraphEdge& edge : edges()) prefetch(edge.dependency);
  }
  [[nodiscard]] std::span<GraphEdge> edges() const noexcept { return {edges_, edge_count_}; }
  [[nodiscard]] std::string name() const { return slab_->label().text(); }
  /// Whether a result is worth counting who still needs it; else it is overwritten by the next run.
  [[nodiscard]] bool has_counted_result() const noexcept { return has_counted_result_; }
  [[nodiscard]] bool has_counted_arguments() const noexcept { return has_counted_arguments_; }

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }  // whoever retains has one already
  /// Destroys it, and what only it has kept, unless there are other references. No recursion: a chain may be long.
  static void release(GraphNode* node) noexcept;

  /// What a run needs to know of it.
  struct State {
    std::atomic<const GraphRun*> run{nullptr};  ///< null: none
    GraphEdge* consumers = nullptr;
    std::atomic<std::uint32_t> pending{0};  ///< dependencies that have no result yet
    std::atomic<std::uint32_t> uses{0};     ///< consumers that need the result, and targets that it is
  };
  State state;

 protected:
  GraphNode(NodeSlab* slab, bool has_counted_result) noexcept : slab_(slab), has_counted_result_(has_counted_result) {}
  virtual ~GraphNode() = default;

  /// Takes over a reference to `dependency`.
  void connect(GraphEdge& edge, GraphNode* dependency) noexcept {
    edge.dependency = dependency;
    edge.consumer = this;
    has_counted_arguments_ |= dependency->has_counted_result();
  }

  void set_edges(GraphEdge* edges, std::size_t count) noexcept {
    edges_ = edges;
    edge_count_ = static_cast<std::uint32_t>(count);
  }

 private:
  static void destroy(GraphNode* node) noexcept {
    NodeSlab* const slab = node->slab_;
    node->~GraphNode();
    NodeSlab::release(slab);
  }

  // All of a task with two dependencies and a small result is in two cache lines.
  GraphEdge* edges_ = nullptr;
  NodeSlab* slab_;
  std::uint32_t edge_count_ = 0;
  std::atomic<std::uint32_t> references_{1};
  bool has_counted_result_;
  bool has_counted_arguments_ = false;

 protected:
  bool has_result_ = false;  ///< if results are counted
};

/// Takes one off: whether it was the last. With kAlone nobody else counts at the same time.
template <bool kAlone>
bool take_last(std::atomic<std::uint32_t>& count) noexcept {
  if constexpr (kAlone) {
    const std::uint32_t left = count.load(std::memory_order_relaxed) - 1;
    count.store(left, std::memory_order_relaxed);
    return left == 0;
  } else {
    // The last one need not count: nobody else will. Acquire: it is to see what the others have done before.
    return count.load(std::memory_order_acquire) == 1 || count.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
}

}  // namespace detail
}  // namespace hogpen
