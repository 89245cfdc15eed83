#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "models/train_plan.h"
#include "runtime/cluster/group.h"

namespace hogpen::detail {

/// How long a worker waits for one that is alive, until it ends the run: as long as torch.distributed's for gloo.
constexpr std::chrono::minutes kPatienceInSync{30};

/// A worker's gradients in mode sync, laid out as the flat parameters, and then the sum of all workers'. On CPUs they
/// lie in the buffer of the worker's group in shared memory; on a GPU in its memory, and the group is one over NCCL.
///
/// Sharing: one object a worker. Owns: the group, the memory.
class SyncGradients {
 public:
  /// Joins the group, which all workers do together. Throws: what NcclGroup, SharedGroup and `CudaBuffer` throw.
  [[nodiscard]] static std::unique_ptr<SyncGradients> make(const TrainPlan& plan, int rank,
                                                           std::span<const FlatSlice> slices);
  virtual ~SyncGradients() = default;

  /// `weight` times each gradient; where it is undefined, and where there are none at all, 0.
  virtual void put(std::span<const at::Tensor> gradients, float weight) = 0;
  /// All workers'. Throws: what the group's verbs throw.
  virtual void add_up() = 0;

  [[nodiscard]] Group& group() const noexcept { return *group_; }
  /// Of each of the slices.
  [[nodiscard]] std::span<const at::Tensor> slices() const noexcept { return slices_; }

 protected:
  explicit SyncGradients(std::unique_ptr<Group> group) : group_(std::move(group)) {}

  std::unique_ptr<Group> group_;
  std::vector<at::Tensor> slices_;
};

}  // namespace hogpen::detail
