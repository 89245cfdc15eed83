#include "runtime/work/graph_run.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/work/executor.h"
#include "runtime/work/failure.h"
#include "runtime/work/graph_trace.h"
#include "runtime/work/task_error.h"
#include "runtime/work/team.h"

namespace hogpen {
namespace detail {
namespace {

constexpr std::chrono::milliseconds kReportInterval{200};

// From the target down to the node: "total <- mean <- sq". What has failed has not announced a result, and so none of
// those that need it has: they can all be found.
std::string path_to(const GraphNode& node) {
  constexpr std::size_t kEnds = 5;
  std::vector<std::string> upwards;
  std::size_t tasks = 1;
  const GraphNode* last = &node;
  while (last->state.consumers != nullptr) {
    last = last->state.consumers->consumer;
    ++tasks;
  }
  if (tasks == 1) return {};
  std::size_t from_below = 0;
  for (last = &node;; last = last->state.consumers->consumer, ++from_below) {
    if (from_below < kEnds || from_below + kEnds >= tasks) upwards.push_back(last->name());
    if (from_below == kEnds && tasks > 2 * kEnds) upwards.push_back(fmt::format("… {} more …", tasks - 2 * kEnds));
    if (last->state.consumers == nullptr) break;
  }
  std::reverse(upwards.begin(), upwards.end());
  return fmt::format("{}", fmt::join(upwards, " <- "));
}

// Of the exception that is being handled.
GraphError error_of(const GraphNode& node) {
  Failure failure;
  try {
    throw;
  } catch (const TaskError& error) {  // thrown in another process
    failure.type = error.type();
    failure.exit.message = error.text();
  } catch (const WorkerError& error) {
    return {node.name(), path_to(node), {}, error.what(), error.hint()};
  } catch (...) {
    failure = describe_current_exception(0);
  }
  return {node.name(), path_to(node), failure.type, failure.exit.message, {}};
}

Place place_for(const Executor* executor) {
  if (executor == nullptr) return Place::caller;
  const Place place = executor->options().place;
  if (place == Place::gpu) {
    throw UsageError("a graph's tasks are functions of this program, which no GPU runs",
                     "give compute an Executor whose place is caller, threads or processes");
  }
  const bool is_alone = executor->threads() == 1;
  if (place == Place::automatic) return is_alone ? Place::caller : Place::threads;
  return place == Place::threads && is_alone ? Place::caller : place;
}

}  // namespace

GraphRun::GraphRun(std::span<GraphNode* const> targets, const ComputeOptions& options) : options_(options) {
  if (!options.trace.empty()) trace_ = std::make_unique<GraphTrace>(options.trace);
  try {
    enter_all(targets);
  } catch (...) {
    leave();
    throw;
  }
  next_report_ = std::chrono::steady_clock::now() + kReportInterval;
}

GraphRun::~GraphRun() {
  leave();
}

void GraphRun::enter_all(std::span<GraphNode* const> targets) {
  // Depth first, first arguments first: then what is computed first is needed soonest, and little is kept.
  std::vector<GraphNode*> unexplored;
  const auto need = [&](GraphNode& node) {
    GraphNode::State& state = node.state;
    const GraphRun* owner = state.run.load(std::memory_order_relaxed);
    if (owner != this) {
      if (owner != nullptr) {
        throw UsageError(
            fmt::format("task '{}' is already being computed, by another thread or by a task that runs it",
                        node.name()),
            "compute graphs that share tasks one after the other, or all at once: compute(executor, a, b)");
      }
      // Relaxed, and no compare-exchange: that two do so at once is a mistake, which need not be found each time.
      nodes_.push_back(&node);
      state.run.store(this, std::memory_order_relaxed);
      state.pending.store(static_cast<std::uint32_t>(node.edges().size()), std::memory_order_relaxed);
      state.uses.store(0, std::memory_order_relaxed);
      state.consumers = nullptr;
      unexplored.push_back(&node);
    }
    state.uses.store(state.uses.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  for (GraphNode* target : targets) {
    require(target != nullptr, "a Delayed that was moved away must not be computed");
    need(*target);
    while (!unexplored.empty()) {
      const GraphNode& node = *unexplored.back();
      unexplored.pop_back();
      const std::span<GraphEdge> edges = node.edges();
      node.prefetch_dependencies();
      if (edges.empty()) leaves_.push_back(const_cast<GraphNode*>(&node));
      for (std::size_t i = edges.size(); i > 0; --i) {
        GraphEdge& edge = edges[i - 1];
        need(*edge.dependency);
        edge.next_consumer = std::exchange(edge.dependency->state.consumers, &edge);
      }
    }
  }
}

void GraphRun::leave() noexcept {
  constexpr std::size_t kAhead = 8;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (i + kAhead < nodes_.size()) GraphNode::prefetch(nodes_[i + kAhead]);
    GraphNode& node = *nodes_[i];
    if (node.has_counted_result()) node.drop_result();
    node.state.run.store(nullptr, std::memory_order_relaxed);
  }
}

void GraphRun::compute(Executor* executor) {
  const Place place = place_for(executor);
  try {
    if (place == Place::processes) {
      run_by_processes(*this, *executor->options().processes);
    } else if (place == Place::threads) {
      run_by_threads(*this, executor->team());
    } else {
      run_by_caller(*this);
    }
  } catch (...) {
    fail(nullptr);
  }
  if (failure_) {
    try {
      if (trace_) trace_->write();
    } catch (...) {  // The failure matters more.
    }
    raise();
  }
  if (trace_) trace_->write();
  if (options_.progress) options_.progress(nodes_.size(), nodes_.size());
}

void GraphRun::fail(const GraphNode* node) noexcept {
  if (is_claimed_.exchange(true)) return;
  failure_ = std::current_exception();
  failed_node_ = node;
  has_failed_.store(true);
}

void GraphRun::raise() {
  if (failed_node_ == nullptr) std::rethrow_exception(failure_);
  try {
    std::rethrow_exception(failure_);
  } catch (...) {
    throw error_of(*failed_node_);
  }
}

void GraphRun::report(std::size_t done) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_report_) return;
  next_report_ = now + kReportInterval;
  if (options_.progress) options_.progress(done, nodes_.size());
}

void run_by_caller(GraphRun& run) {
  GraphTrace* const trace = run.trace();
  const std::size_t row = trace ? trace->add_row("calling thread") : 0;
  std::vector<GraphNode*> ready;
  std::size_t done = 0;
  for (GraphNode* leaf : run.leaves()) {
    GraphNode* node = leaf;
    while (node != nullptr) {
      try {
        trace ? trace->run(row, *node) : node->run();
      } catch (...) {
        return run.fail(node);
      }
      ++done;
      release_arguments<true>(*node);
      node = announce_result<true>(*node, [&](GraphNode* other) { ready.push_back(other); });
      if (run.wants_progress()) run.report(done);
      if (node != nullptr || ready.empty()) continue;
      node = ready.back();
      ready.pop_back();
    }
  }
}

}  // namespace detail
}  // namespace hogpen
