#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "runtime/core/deadline.h"
#include "runtime/process/control_block.h"

namespace hogpen {

/// What a worker's body knows of its launch: its rank, when to stop, what to do next. The same for processes and
/// threads.
///
/// Sharing: used by its own process or thread alone. Owns: nothing; the launcher outlives it.
class Worker {
 public:
  Worker(ControlBlock& control, int rank) noexcept : control_(control), rank_(rank) {}

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int world_size() const noexcept { return control_.workers(); }
  [[nodiscard]] ControlBlock& control() const noexcept { return control_; }
  [[nodiscard]] WorkerSlot& slot() const noexcept { return control_.slot(rank_); }

  /// True once someone asked for the end: Ctrl-C, another worker's failure, `stop_all`.
  [[nodiscard]] bool should_stop() const noexcept;
  /// Asks every worker to finish its step and return.
  void stop_all() noexcept;
  /// For the keeper: true once every worker has ended.
  [[nodiscard]] bool workers_are_done() const noexcept;

  /// Waits until every worker has come this far for the first time. A worker that replaces a dead one passes at once
  /// when the others have started already. Begin the loop after it.
  void wait_for_start();

  /// For the keeper: waits until the workers have started, or are to end.
  void wait_for_others();

  /// Claims the next chunk of shared work, from 0; no value when `end` is reached. No two workers get the same one, and
  /// one that dies takes its chunk along.
  [[nodiscard]] std::optional<std::uint64_t> claim(std::uint64_t end) noexcept;

  /// Publishes a step's progress. `staleness`: how many steps of other workers fell between what it read and its
  /// update.
  void step_done(std::uint64_t samples, double loss, std::uint64_t staleness = 0) noexcept;
  /// Publishes a step that made no update.
  void step_skipped(double loss) noexcept;
  /// A step boundary: call it between one step and the next. Waits here while a pause is asked for; `before_pause` is
  /// called first, so that whoever paused the workers finds its work done.
  void pause_point(const std::function<void()>& before_pause = {});
  /// Tells that it is no stalled worker, while it waits between two steps for what others do.
  void beat() const noexcept;

 private:
  ControlBlock& control_;
  int rank_;
};

/// The body of a worker. It returns when its work is done or `should_stop()`.
using WorkerBody = std::function<void(Worker&)>;

}  // namespace hogpen
