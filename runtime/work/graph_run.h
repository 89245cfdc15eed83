#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/work/graph_node.h"

namespace hogpen {

class Executor;
class Pool;
class Team;

struct ComputeOptions {
  /// Called by the calling thread between its tasks, some five times a second, and at the end: how many tasks are done,
  /// of how many. What it throws ends the computation.
  std::function<void(std::size_t done, std::size_t total)> progress = {};
  std::filesystem::path trace = {};  ///< a file for Chrome's about:tracing or ui.perfetto.dev; empty: none
};

namespace detail {

class GraphTrace;

/// One computation: which nodes it needs, what may begin at once, who failed first.
///
/// Sharing: the thread that makes it; `fail` and `has_failed` any thread. Owns: the `state` and the results of the
/// nodes that it has entered, until it is destroyed. Who makes it keeps the nodes.
class GraphRun {
 public:
  /// Throws: UsageError when a node is being computed by somebody else; as ReplacementFile for the trace.
  GraphRun(std::span<GraphNode* const> targets, const ComputeOptions& options);
  GraphRun(const GraphRun&) = delete;
  GraphRun& operator=(const GraphRun&) = delete;
  ~GraphRun();

  /// Computes the targets where the executor says; without one, in the calling thread. Throws: GraphError, UsageError
  /// before anything was run, and what `progress` throws.
  void compute(Executor* executor);

  [[nodiscard]] std::span<GraphNode* const> nodes() const noexcept { return nodes_; }
  /// In the order in which they are best run.
  [[nodiscard]] std::span<GraphNode* const> leaves() const noexcept { return leaves_; }

  /// To be called while an exception is handled: the first one counts. `node` is the task that threw it; null: none.
  void fail(const GraphNode* node) noexcept;
  [[nodiscard]] bool has_failed() const noexcept { return has_failed_.load(std::memory_order_relaxed); }

  [[nodiscard]] bool wants_progress() const noexcept { return static_cast<bool>(options_.progress); }
  /// When the next report of the progress is due.
  [[nodiscard]] std::chrono::steady_clock::time_point next_report() const noexcept { return next_report_; }
  /// Reports the progress if that is due.
  void report(std::size_t done);
  [[nodiscard]] GraphTrace* trace() const noexcept { return trace_.get(); }  ///< null: none is wanted

 private:
  void enter_all(std::span<GraphNode* const> targets);
  void leave() noexcept;
  [[noreturn]] void raise();

  const ComputeOptions& options_;
  std::vector<GraphNode*> nodes_;
  std::vector<GraphNode*> leaves_;
  std::atomic<bool> has_failed_{false};
  std::atomic<bool> is_claimed_{false};  // the place of the first failure
  std::exception_ptr failure_;
  const GraphNode* failed_node_ = nullptr;
  std::chrono::steady_clock::time_point next_report_;
  std::unique_ptr<GraphTrace> trace_;
};

/// Drops the arguments that nobody else needs.
template <bool kAlone>
void release_arguments(const GraphNode& node) noexcept {
  if (!node.has_counted_arguments()) return;
  for (const GraphEdge& edge : node.edges()) {
    GraphNode& dependency = *edge.dependency;
    if (dependency.has_counted_result() && take_last<kAlone>(dependency.state.uses)) dependency.drop_result();
  }
}

/// Tells the consumers that the result is there. Returns one that is ready now, or null, and calls `also_ready` with
/// the others.
template <bool kAlone, class AlsoReady>
GraphNode* announce_result(const GraphNode& node, const AlsoReady& also_ready) {
  GraphNode* next = nullptr;
  for (GraphEdge* edge = node.state.consumers; edge != nullptr;) {
    const GraphEdge& current = *edge;
    edge = current.next_consumer;
    if (!take_last<kAlone>(current.consumer->state.pending)) continue;
    if (next == nullptr) {
      next = current.consumer;
    } else {
      also_ready(current.consumer);
    }
  }
  return next;
}

void run_by_caller(GraphRun& run);
void run_by_threads(GraphRun& run, Team& team);
void run_by_processes(GraphRun& run, Pool& pool);

}  // namespace detail
}  // namespace hogpen
