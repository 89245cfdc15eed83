#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/work/graph_run.h"
#include "runtime/work/graph_trace.h"
#include "runtime/work/pool.h"

namespace hogpen::detail {
namespace {

/// The tasks of a graph that a pool has been given, and those that it will be.
///
/// Sharing: one thread. Owns: its jobs.
class GraphOnPool {
 public:
  GraphOnPool(GraphRun& run, PoolCore& pool)
      : run_(run),
        pool_(pool),
        most_jobs_(std::min<std::size_t>(std::size_t{pool.workers()} * kJobsAWorker, JobTable::kSlots / 2)),
        ready_(run.leaves().rbegin(), run.leaves().rend()) {}

  void compute() {
    try {
      while (!run_.has_failed() && (!ready_.empty() || !jobs_.empty())) {
        while (!ready_.empty() && jobs_.size() < most_jobs_) submit_one();
        collect(wait());
        if (run_.wants_progress()) run_.report(done_);
      }
    } catch (...) {  // what no task threw: the pool is broken, or closed, or a report failed
      run_.fail(nullptr);
    }
    if (run_.has_failed()) cancel();
  }

 private:
  // Enough that a worker always finds another one, few enough that what is needed soonest is begun soon.
  static constexpr std::size_t kJobsAWorker = 16;

  void submit_one() {
    GraphNode* const node = ready_.back();
    ready_.pop_back();
    jobs_.push_back(node->submit(pool_));
    nodes_.push_back(node);
    release_arguments<true>(*node);
  }

  // The index of one that is finished, or how many there are if it is time for a report.
  std::size_t wait() {
    return pool_.wait_any(jobs_, run_.wants_progress() ? Deadline::after(run_.next_report() - Deadline::Clock::now())
                                                       : Deadline::never());
  }

  void collect(std::size_t first) {
    std::size_t kept = first;
    for (std::size_t i = first; i < jobs_.size(); ++i) {
      if (i == first || pool_.is_finished(*jobs_[i])) {
        receive(*nodes_[i], *jobs_[i]);
        continue;
      }
      if (kept != i) {
        jobs_[kept] = std::move(jobs_[i]);
        nodes_[kept] = nodes_[i];
      }
      ++kept;
    }
    jobs_.resize(std::min(kept, jobs_.size()));
    nodes_.resize(jobs_.size());
  }

  void receive(GraphNode& node, const Job& job) {
    TaskTimes times;
    try {
      times = node.receive(job);
    } catch (...) {
      return run_.fail(&node);
    }
    ++done_;
    if (run_.trace()) run_.trace()->add_task(row_of(times.pid), node, times);
    GraphNode* const next = announce_result<true>(node, [this](GraphNode* other) { ready_.push_back(other); });
    if (next != nullptr) ready_.push_back(next);
  }

  // What no worker has begun is not; what one has, it ends.
  void cancel() {
    for (const auto& job : jobs_) (void)pool_.cancel(*job);
    for (const auto& job : jobs_) (void)pool_.wait(*job, Deadline::never());
  }

  std::size_t row_of(int pid) {
    const auto [row, is_new] = rows_.try_emplace(pid, 0);
    if (is_new) row->second = run_.trace()->add_row(fmt::format("worker (pid {})", pid));
    return row->second;
  }

  GraphRun& run_;
  PoolCore& pool_;
  std::size_t most_jobs_;
  std::vector<GraphNode*> ready_;  // the last one first
  std::vector<std::shared_ptr<Job>> jobs_;
  std::vector<GraphNode*> nodes_;  // of the jobs
  std::size_t done_ = 0;
  std::map<int, std::size_t> rows_;  // of the trace, by pid
};

}  // namespace

void run_by_processes(GraphRun& run, Pool& pool) {
  for (const GraphNode* node : run.nodes()) {
    if (const char* why = node->why_unsendable()) {
      throw UsageError(
          fmt::format("task '{}' cannot be sent to another process: {}", node->name(), why),
          "compute on threads, or give the task all it needs as arguments: plain values, strings, vectors, "
          "tensors and other types with a Codec");
    }
  }
  GraphOnPool(run, pool.core()).compute();
}

}  // namespace hogpen::detail
