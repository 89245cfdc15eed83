#pragma once

#include "models/train_plan.h"
#include "models/worker_tools.h"

namespace hogpen::detail {

/// A worker's part of mode sync, one step at a time: every worker computes the gradients of a batch of its own,
/// weighted by its share of the step's samples; the group adds them up; rank 0 updates the parameters. On several GPUs
/// every worker updates those of its own, all with the same sum, so that they stay equal.
///
/// Returns also when another worker has died or failed: the launcher knows, and ends the run.
void train_synchronously(const TrainPlan& plan, Worker& worker, WorkerTools& tools);

}  // namespace hogpen::detail
