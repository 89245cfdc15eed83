#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "models/shared_model.h"
#include "models/train_plan.h"
#include "runtime/cluster/nccl_threads.h"
#include "runtime/process/control_block.h"

namespace hogpen::detail {

/// Brings the replicas of a training on several GPUs together, every few steps and when asked: to each GPU's parameters
/// it adds what the mean of all has more than they had. So workers go on meanwhile, and what they add stays.
///
/// The members of the group are all the keeper's. So a worker's death breaks nothing, and of a keeper that dies the
/// whole group is gone: its successor makes another. One that dies when it has moved the parameters of some GPUs and
/// not yet those of the others leaves those some nearer to the mean: the next mean counts the others' steps for more,
/// and what only those some had gained for less.
///
/// Sharing: one object in the keeper, used by one thread. Owns: a thread that looks whether an average is due, and on
/// each GPU twice the memory of the parameters. Source: Stich, "Local SGD Converges Fast and Communicates Little",
/// ICLR 2019.
class ReplicaAverage {
 public:
  /// The first average is due when `control` counts `average_every` steps for each worker, whichever made them, and
  /// each later one so many steps after the one before began. For a keeper that replaces a dead one the first may be
  /// overdue. `on_host` tells where in the Arenas the parameters lie; `group`, of these GPUs, is used by nobody else
  /// meanwhile.
  ///
  /// Throws: what `CudaBuffer` throws.
  ReplicaAverage(const TrainPlan& plan, const ControlBlock& control, const SharedModel& on_host,
                 std::span<const GpuTraining> replicas, NcclThreads& group);
  ReplicaAverage(const ReplicaAverage&) = delete;
  ReplicaAverage& operator=(const ReplicaAverage&) = delete;
  ~ReplicaAverage();

  /// Averages now. Where no worker trains meanwhile, all GPUs then have the mean, up to rounding.
  ///
  /// Throws: as `check`.
  void average();
  /// Throws: as `NcclThreads::check`. There will be no more averages.
  void check();

 private:
  struct Member;

  void watch() noexcept;
  void begin();
  void move_to_mean(Group& member);

  const ControlBlock& control_;
  NcclThreads& group_;
  std::uint64_t period_;  // in steps of all workers
  kernels::Write write_;
  std::vector<FlatSlice> slices_;
  std::vector<std::unique_ptr<Member>> members_;

  std::mutex mutex_;  // for all below, and the group
  std::condition_variable ends_;
  std::uint64_t due_at_;
  bool is_ending_ = false;
  std::thread watcher_;
};

}  // namespace hogpen::detail
