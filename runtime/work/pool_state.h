#pragma once

#include "runtime/process/crash_report.h"
#include "runtime/work/failure.h"
#include "runtime/work/job_table.h"

namespace hogpen {

/// For WorkerPlace::since.
[[nodiscard]] inline std::int64_t monotonic_nanoseconds() noexcept {
  return Deadline::Clock::now().time_since_epoch().count();
}

/// All that a pool's owner, its supervisor and its workers share.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
struct PoolState {
  enum Phase : std::uint32_t { open, closed, terminated };

  explicit PoolState(std::uint32_t workers) noexcept : table(workers) {}

  JobTable table;
  std::atomic<Phase> phase{open};
  std::atomic<std::uint32_t> is_broken{0};  ///< `why_broken` is whole, and no worker will come any more
  CrashReport why_broken;

  /// Says that the pool is of no more use, and lets everyone know. The first reason is kept.
  void break_because(std::string_view reason) noexcept {
    std::uint32_t whole = 0;
    if (!breaking.compare_exchange_strong(whole, 1)) return;
    why_broken.set(reason);
    is_broken.store(1);
    table.work.notify();
    table.completed.notify();
  }

 private:
  std::atomic<std::uint32_t> breaking{0};
};

/// Keeps why a chunk failed, for who asks for its result. The chunk is failed next.
void report_failure(JobTable& table, const Claim& claim, const Failure& failure) noexcept;

/// The loop of a worker: runs tasks until the pool is closed and has none, or `most_tasks` (if not 0) are done. It
/// announces itself in its place before, so that a death is told from one in the initializer.
void run_pool_worker(PoolState& pool, std::uint32_t worker, std::uint64_t most_tasks);

}  // namespace hogpen
