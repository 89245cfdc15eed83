#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "models/gpu_pipeline.h"
#include "models/optimizer.h"
#include "models/replica.h"
#include "models/sampler.h"
#include "models/shared_model.h"
#include "models/train_plan.h"
#include "models/train_step.h"
#include "runtime/process/worker.h"

namespace hogpen::detail {

/// A worker's tools: its module on the shared parameters or its replica of them, and all that is private to it.
///
/// Sharing: one object a worker. Owns: shares of the plan's memory.
struct WorkerTools {
  /// `gpu`: where the training lies on a GPU; none: the plan's own memory.
  WorkerTools(const TrainPlan& plan, const Worker& worker, const std::optional<GpuTraining>& gpu);

  SharedModel model;
  std::optional<Replica> replica;
  std::unique_ptr<TrainStep> step;
  Optimizer optimizer;
  std::unique_ptr<GpuPipeline> pipeline;  ///< instead of `step` on a GPU, but for an own step and mode sync
  EpochSampler sampler;
};

/// What becomes of a step whose loss is no number.
///
/// Sharing: one object a worker. Owns: nothing.
class NanWatch {
 public:
  NanWatch(const TrainPlan& plan, Worker& worker) : plan_(plan), worker_(worker) {}

  /// True when the step may update the parameters.
  [[nodiscard]] bool admits(double loss, std::uint64_t batch);

 private:
  const TrainPlan& plan_;
  Worker& worker_;
  int in_a_row_ = 0;
};

}  // namespace hogpen::detail
