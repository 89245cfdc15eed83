#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "runtime/core/deadline.h"
#include "runtime/memory/segment.h"
#include "runtime/process/crash_report.h"
#include "runtime/sync/futex.h"

namespace hogpen {

enum class WorkerState : std::uint32_t {
  absent,    ///< not started, or dead and not yet replaced
  starting,  ///< attached, waits for the others
  running,
  paused,    ///< at a step boundary, until the pause is over
  finished,  ///< its body has returned
};

/// What one worker tells the others. Written by that worker alone (by the launcher once it is dead), read by all.
struct alignas(64) WorkerSlot {
  std::atomic<std::int32_t> pid{0};
  std::atomic<WorkerState> state{WorkerState::absent};
  std::atomic<std::uint64_t> steps{0};       ///< by all holders of this rank
  std::atomic<std::uint64_t> samples{0};     ///< likewise
  std::atomic<std::uint64_t> skipped{0};     ///< steps without an update (NaN loss)
  std::atomic<double> loss{0.0};             ///< of its latest step
  std::atomic<std::int64_t> heartbeat{0};    ///< monotonic clock at its latest step boundary, in nanoseconds
  std::atomic<std::int64_t> first_step{0};   ///< the same at the end of the first step of this rank; 0 before it
  std::atomic<std::uint64_t> staleness{0};   ///< summed over `steps`
  std::atomic<std::uint64_t> most_stale{0};  ///< of one step
  alignas(64) CrashReport report;
};

/// The words all workers of a launch share. Each that many write has a cache line of its own.
struct ControlHeader {
  static constexpr std::uint64_t kMagic = 0x6e6570676f68;  ///< "hogpen"
  static constexpr std::uint32_t kVersion = 1;

  std::uint64_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t workers = 0;
  alignas(64) std::atomic<std::uint32_t> should_stop{0};  ///< finish the step, then return
  std::atomic<std::uint32_t> workers_done{0};             ///< every worker has ended: the keeper's turn to end
  alignas(64) FutexWord started{0};                       ///< the start barrier is open
  alignas(64) FutexWord pause{0};                         ///< workers wait at their step boundary
  alignas(64) std::atomic<std::uint64_t> cursor{0};       ///< the next chunk of work to claim
};
static_assert(std::is_standard_layout_v<ControlHeader> && std::is_standard_layout_v<WorkerSlot>);
static_assert(std::atomic<double>::is_always_lock_free && std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<WorkerState>::is_always_lock_free);

/// How many steps of other workers fell between what a step read and what it wrote, over many steps.
///
/// Sharing: a value.
struct Staleness {
  std::uint64_t steps = 0;
  std::uint64_t sum = 0;
  std::uint64_t max = 0;
  [[nodiscard]] double mean() const noexcept {
    return steps > 0 ? static_cast<double>(sum) / static_cast<double>(steps) : 0.0;
  }
};

/// One header and one slot for each worker, and one for the keeper, in a Segment of their own.
///
/// Sharing: all processes and threads of a launch. Owns: the Segment.
class ControlBlock {
 public:
  explicit ControlBlock(int workers);

  [[nodiscard]] ControlHeader& header() const noexcept { return *reinterpret_cast<ControlHeader*>(segment_.data()); }
  [[nodiscard]] int workers() const noexcept { return static_cast<int>(header().workers); }
  /// The slot of a rank; the keeper's is `slot(workers())`. Requires: 0 <= rank <= workers().
  [[nodiscard]] WorkerSlot& slot(int rank) const noexcept;

  /// Sums over all workers.
  [[nodiscard]] std::uint64_t total_steps() const noexcept;
  [[nodiscard]] std::uint64_t total_samples() const noexcept;
  [[nodiscard]] std::uint64_t total_skipped() const noexcept;
  /// Mean of the latest losses of the workers that have made a step; 0 when none has.
  [[nodiscard]] double mean_loss() const noexcept;

  /// The end of the first step of any worker; empty before it.
  [[nodiscard]] std::optional<Deadline::Clock::time_point> first_step() const noexcept;
  /// Of all steps of all workers.
  [[nodiscard]] Staleness staleness() const noexcept;

  /// The latest step boundary of any worker.
  [[nodiscard]] Deadline::Clock::time_point last_step() const noexcept;

  /// Asks every worker to wait at its next step boundary. True once all do (or have ended); false, and the pause is
  /// over, when one does not get there in time.
  [[nodiscard]] bool pause_workers(Deadline deadline);
  void resume_workers() noexcept;

 private:
  Segment segment_;
};

}  // namespace hogpen
