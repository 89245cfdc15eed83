#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "models/shared_model.h"
#include "models/train_plan.h"
#include "runtime/cluster/group.h"

namespace hogpen::detail {

/// Brings the replicas of a training on several GPUs together, every few steps and when asked: to each GPU's parameters
/// it adds what the mean of all has more than they had. So workers go on meanwhile, and what they add stays.
///
/// The members of the group, a thread for each GPU, are all the keeper's. So a worker's death breaks nothing, and of a
/// keeper that dies the whole group is gone: its successor makes another. One that dies when it has moved the
/// parameters of some GPUs and not yet those of the others leaves those some nearer to the mean: the next mean counts
/// the others' steps for more, and what only those some had gained for less.
///
/// Sharing: one object in the keeper, used by one thread. Owns: the threads, their communicator, and on each GPU twice
/// the memory of the parameters. Source: Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019.
class ReplicaAverage {
 public:
  /// `claimed` counts the steps that all workers have begun. `on_host` tells where in the Arenas the parameters lie.
  ///
  /// Throws: what `CudaBuffer` throws.
  ReplicaAverage(const TrainPlan& plan, const std::atomic<std::uint64_t>& claimed, const SharedModel& on_host,
                 std::span<const GpuTraining> replicas);
  ReplicaAverage(const ReplicaAverage&) = delete;
  ReplicaAverage& operator=(const ReplicaAverage&) = delete;
  ~ReplicaAverage();

  /// Averages now. Where no worker trains meanwhile, all GPUs then have the mean, up to rounding.
  ///
  /// Throws: as `check`.
  void average();
  /// Throws: what a member threw: see NcclGroup. There will be no more averages.
  void check();

 private:
  struct Member;

  void take_part(std::size_t rank) noexcept;
  void average_with(Group& group, Member& member);
  [[nodiscard]] bool wait_for(std::uint64_t round, std::size_t rank);
  void begin_round();
  void end_part();
  void fail(std::exception_ptr error, bool is_own);
  [[nodiscard]] bool is_round_over() const noexcept;
  void wait_until_over(std::unique_lock<std::mutex>& lock);
  void end() noexcept;

  const std::atomic<std::uint64_t>& claimed_;
  std::uint64_t period_;  // in steps of all workers
  kernels::Write write_;
  std::vector<FlatSlice> slices_;
  SharedGroup::Memory memory_;
  std::vector<std::unique_ptr<Member>> members_;

  std::mutex mutex_;  // for all below
  std::condition_variable changed_;
  std::uint64_t begun_ = 0;  // rounds
  std::uint64_t parts_ = 0;  // of rounds, that members have ended
  std::uint64_t due_at_;
  bool is_ending_ = false;
  bool is_failure_own_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace hogpen::detail
