#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/process/process.h"

namespace hogpen {

struct SpawnOptions {
  std::string name = "hogpen";             ///< the children are called name-0, name-1, …
  int threads = 0;                         ///< each child's budget; 0: an equal part of default_workers(), at least 1
  std::chrono::milliseconds grace{5'000};  ///< after a failure, from SIGTERM to SIGKILL of the rest
};

/// The processes of one `start_processes`. Destroying it kills those that still run.
///
/// Sharing: one thread. Owns: the children.
class ProcessContext {
 public:
  ProcessContext(ProcessContext&&) noexcept = default;
  ProcessContext& operator=(ProcessContext&&) = delete;
  ~ProcessContext();

  /// Waits until all have ended: false if they did not in time.
  ///
  /// Throws: WorkerError with the first failure (rank, pid, message; the lowest rank of several seen at once), after
  /// all others were stopped: SIGTERM, the grace, SIGKILL. None of them is left then.
  bool join(Deadline deadline = Deadline::never());

  [[nodiscard]] std::vector<int> pids() const;
  /// By rank: for their sentinels, is_alive, exit codes.
  [[nodiscard]] std::span<Process> processes() noexcept { return processes_; }

 private:
  friend ProcessContext start_processes(const std::function<void(int)>& body, int count, SpawnOptions options);
  explicit ProcessContext(std::chrono::milliseconds grace) : grace_(grace) {}
  void stop_running();

  std::chrono::milliseconds grace_;
  std::vector<Process> processes_;
  std::vector<Process*> running_;
  std::optional<WorkerExit> failure_;
};

/// Runs `body(rank)` in `count` children, rank 0 to count - 1, and returns at once.
///
/// Throws: as `Process::start`; those already started are killed then.
[[nodiscard]] ProcessContext start_processes(const std::function<void(int)>& body, int count,
                                             SpawnOptions options = {});

/// Runs `body(rank)` in `count` children and waits for all of them. Throws: as `start_processes` and
/// `ProcessContext::join`.
void spawn(const std::function<void(int)>& body, int count, SpawnOptions options = {});

}  // namespace hogpen
