#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "runtime/core/deadline.h"
#include "runtime/core/fd.h"
#include "runtime/process/incarnation.h"
#include "runtime/process/launcher.h"
#include "runtime/process/stop_signals.h"

namespace hogpen::detail {

/// What the user of a Launcher gave it to call; all but `body` may be empty.
struct Callbacks {
  WorkerBody body;
  WorkerBody keeper;
  std::chrono::milliseconds period{0};
  std::function<void()> tick;
  std::function<void(const WorkerExit&)> on_death;
};

/// The launcher's event loop: one epoll over a sentinel a worker and a descriptor for signals.
///
/// Sharing: one thread. Owns: the workers' incarnations while it runs.
class Supervisor {
 public:
  Supervisor(const LauncherOptions& options, std::shared_ptr<ControlBlock> control, Callbacks callbacks);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  LaunchReport run();

 private:
  struct Life {
    std::unique_ptr<Incarnation> incarnation;
    Deadline::Clock::time_point began;
    std::uint64_t steps_before = 0;  // by earlier lives of its rank
    bool was_killed = false;         // by us, at the end of the grace
    bool has_stalled = false;        // killed by us for that
  };

  void start(int rank);
  void wait_for_event(Deadline deadline);
  void on_signal();
  void on_end(int rank);
  void on_failure(int rank, const Life& life, WorkerExit exit);
  [[nodiscard]] bool may_replace(int rank, const Life& life, const WorkerExit& exit);
  [[nodiscard]] std::uint64_t steps_of(int rank) const noexcept;
  void ask_to_stop();
  void kill(int rank, Life& life, const char* reason);
  void look_for_stalls();
  void end_what_is_overdue();
  [[nodiscard]] bool workers_are_left() const noexcept;
  [[nodiscard]] bool is_keeper(int rank) const noexcept { return rank == control_->workers(); }

  const LauncherOptions options_;
  std::shared_ptr<ControlBlock> control_;
  Callbacks callbacks_;
  int threads_ = 1;
  Fd epoll_;
  std::optional<StopSignals> signals_;
  std::map<int, Life> lives_;     // by rank
  std::map<int, int> fruitless_;  // deaths of a rank, since one of its lives made a step
  LaunchReport report_;
  std::optional<WorkerExit> failure_;
  bool stalled_out_ = false;
  bool is_impatient_ = false;  // a second signal came
  Deadline workers_end_ = Deadline::never();
  Deadline keepers_end_ = Deadline::never();
};

}  // namespace hogpen::detail
