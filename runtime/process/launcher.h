#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/process/control_block.h"
#include "runtime/process/worker.h"

namespace hogpen {

enum class WorkersAs {
  processes,  ///< isolated: a crash costs one worker, and it is replaced
  threads,    ///< one address space: start is cheaper, but a crash ends all
};

/// A worker that dies is replaced, however often, as long as it got somewhere: `max_restarts` bounds the replacements
/// of a rank in a row whose lives made no step. 0 replaces none: the first death ends the launch.
struct LauncherOptions {
  int workers = 1;
  WorkersAs workers_as = WorkersAs::processes;
  int max_restarts = 10;
  int threads_per_worker = 0;              ///< of LibTorch's parallel regions; 0: usable CPUs / workers, at least 1
  bool pin_workers = false;                ///< each to CPUs of its own, as many as it has threads: `share_of_cpus`
  std::chrono::milliseconds grace{5'000};  ///< from asking workers to stop to SIGKILL
  std::chrono::milliseconds keeper_grace{60'000};  ///< from the end of the workers to SIGKILL of the keeper
  std::chrono::milliseconds stall_timeout{0};  ///< a worker without a step boundary for so long is replaced; 0: never
  bool handle_signals = true;  ///< SIGINT and SIGTERM ask for the end; a second one kills (threads: the process)
};

/// The threads of each worker: `threads_per_worker`, or its part of the usable CPUs.
[[nodiscard]] int threads_of_worker(const LauncherOptions& options);
/// The CPUs to which a worker is pinned: empty for one that is not.
[[nodiscard]] std::vector<int> cpus_of_worker(const LauncherOptions& options, int rank);

/// How a launch went.
struct LaunchReport {
  std::vector<WorkerExit> deaths;  ///< every worker that failed and was replaced
  std::optional<int> stopped_by;   ///< SIGINT or SIGTERM, when one asked for the end
};

/// Starts workers, watches them, replaces the dead, and ends them all.
///
/// The launcher should be a zygote: a process that has loaded everything but run no tensor operation and started no
/// thread, so that its children start in milliseconds from a clean state. An optional keeper runs beside the workers
/// and outlives them: it evaluates and saves.
///
/// Sharing: one thread; `run` forks from it. Owns: the control block and, during `run`, the workers: when it returns or
/// throws none is left.
class Launcher {
 public:
  explicit Launcher(LauncherOptions options);
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  [[nodiscard]] ControlBlock& control() noexcept { return *control_; }
  [[nodiscard]] const LauncherOptions& options() const noexcept { return options_; }

  /// The keeper's rank is `workers`. It ignores SIGINT and SIGTERM, and returns once `workers_are_done()`.
  void set_keeper(WorkerBody body) { keeper_ = std::move(body); }
  /// Calls `tick` about so often while `run` waits; what it throws ends the launch.
  void every(std::chrono::milliseconds period, std::function<void()> tick);

  /// Calls `death` when a worker has failed, before it is replaced or the launch ends.
  void on_death(std::function<void(const WorkerExit&)> death) { death_ = std::move(death); }

  /// Runs `body` in every worker, until all have returned.
  ///
  /// Throws: WorkerError with the first failure that was not made good by a restart, after all others have stopped and
  /// the keeper has saved; TimeoutError when a stalled worker was the last that `max_restarts` allowed, or is a thread.
  LaunchReport run(WorkerBody body);

 private:
  LauncherOptions options_;
  std::shared_ptr<ControlBlock> control_;  // A thread that could not be stopped holds on to it.
  WorkerBody keeper_;
  std::chrono::milliseconds period_{0};
  std::function<void()> tick_;
  std::function<void(const WorkerExit&)> death_;
};

/// Runs `body` in a child process, with one thread for LibTorch, and waits for it: for work that must not touch the
/// zygote. For threads, in place. Throws: WorkerError when a signal ended it; a UsageError or an Error with the message
/// and hint of what `body` threw.
void run_isolated(WorkersAs workers_as, const std::function<void()>& body);

}  // namespace hogpen
