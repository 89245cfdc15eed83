#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/memory/shared_heap.h"
#include "runtime/work/pool_host.h"

namespace hogpen {

/// What a job is made of.
struct JobPlan {
  RunItems run = nullptr;  ///< or a task that has a name
  std::uint64_t task = 0;
  std::span<const std::byte> closure;
  std::uint64_t items = 0;
  std::uint64_t chunk_size = 1;
  std::size_t input_bytes = 0;
  std::size_t output_bytes = 0;
  bool has_parcels = false;                          ///< the output is an array of Parcel
  std::vector<BlockId> blocks = {};                  ///< that the input refers to
  std::function<void(std::byte*)> write_input = {};  ///< into `input_bytes` bytes, aligned to 64
};

/// A job as its owner sees it: first in a slot of the table, then, once it is finished, by itself.
///
/// Sharing: see PoolCore. Owns: the job's memory, the blocks its input refers to, and the parcels of its output.
class Job {
 public:
  explicit Job(JobPlan plan);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  ~Job();

  [[nodiscard]] std::uint64_t items() const noexcept { return plan_.items; }
  /// Requires: it is finished.
  [[nodiscard]] const std::byte* output() const noexcept { return output_; }
  /// Throws what its first task in order to fail threw, or CancelledError. Requires: it is finished.
  void require_success() const;

 private:
  friend class PoolCore;
  static constexpr std::uint32_t kNoSlot = ~0u;

  void move_into(JobSlot& slot);
  [[nodiscard]] bool look_at(const JobSlot& slot);  // whether all chunks are final
  void move_out_of(const JobSlot& slot);

  JobPlan plan_;
  std::uint64_t chunks_ = 0;
  std::uint32_t slot_ = kNoSlot;
  SharedBlock payload_;  // empty while it lies in the slot
  std::unique_ptr<std::byte[]> copied_output_;
  const std::byte* output_ = nullptr;
  std::uint64_t final_chunks_ = 0;  // all before it are final
  bool is_finished_ = false;
  bool has_failed_ = false;
  bool was_cancelled_ = false;
  Parcel failure_ = Parcel::none;
  std::function<void()> callback_;
};

/// A pool without its types: jobs in, finished jobs out.
///
/// Sharing: any thread of the process that made it. Owns: the workers and the shared state.
class PoolCore {
 public:
  explicit PoolCore(PoolOptions options);
  ~PoolCore();

  /// Waits while the table is full of jobs that are not finished. Throws: UsageError when the pool is closed.
  [[nodiscard]] std::shared_ptr<Job> submit(JobPlan plan);
  /// False when the deadline passed first.
  ///
  /// Throws: Error when the pool is broken; WorkerError when its supervisor died; and what callbacks throw.
  bool wait(Job& job, Deadline deadline);
  /// Waits until one of them is finished, and returns its index; `jobs.size()` if none is in time. Throws: as `wait`.
  [[nodiscard]] std::size_t wait_any(std::span<const std::shared_ptr<Job>> jobs, Deadline deadline);
  [[nodiscard]] bool is_finished(Job& job);
  bool cancel(Job& job);
  /// Calls `callback` in the thread that next waits or polls after the job is finished.
  void set_callback(Job& job, std::function<void()> callback);
  /// Runs the callbacks that are due.
  void poll();

  void close();
  void terminate();
  bool join(Deadline deadline);
  [[nodiscard]] std::uint32_t workers() const noexcept { return pool_->table.workers(); }
  [[nodiscard]] std::vector<int> worker_pids() const;

 private:
  bool collect(Job& job);  // this and the next three hold the lock
  void collect_all();
  void retire_finished();
  std::uint32_t free_slot(std::unique_lock<std::mutex>& lock);
  template <class Ready>
  bool wait_until(Ready ready, Deadline deadline);
  void require_usable();
  void run_due_callbacks();

  PoolOptions options_;
  Shared<PoolState> pool_;
  std::mutex mutex_;  // of all below
  std::deque<std::uint32_t> free_slots_;
  std::vector<std::shared_ptr<Job>> active_;
  std::vector<std::pair<std::uint32_t, SharedBlock>> retiring_;  // finished, but a worker still looks at them
  std::vector<std::function<void()>> due_;
  std::uint64_t last_ticket_ = 0;
  std::mutex host_mutex_;
  std::unique_ptr<PoolHost> host_;
};

}  // namespace hogpen
