#include "models/sync_training.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <vector>

#include "runtime/cluster/shared_group.h"

namespace hogpen::detail {
namespace {

class SyncTraining {
 public:
  SyncTraining(const TrainPlan& plan, Worker& worker, WorkerTools& tools, SharedGroup& group)
      : plan_(plan),
        worker_(worker),
        tools_(tools),
        nan_watch_(plan, worker),
        group_(group),
        flat_(at::from_blob(group.buffer().data(), {plan.flat_numel}, at::kFloat)) {
    for (const FlatSlice& slice : tools.model.slices()) {
      averaged_.push_back(at::from_blob(flat_.data_ptr<float>() + slice.offset, {slice.numel}, at::kFloat));
    }
  }

  void run() {
    const std::atomic<std::uint64_t>& cursor = worker_.control().header().cursor;
    if (worker_.rank() == 0) decide();
    group_.barrier(Deadline::never());
    while (plan_.shared().round_stop.load() == 0) {
      const std::uint64_t first = cursor.load();
      contribute(first);
      group_.all_reduce(flat_, Reduction::sum, Deadline::never());
      if (worker_.rank() == 0) {
        update(first);
        decide();
      }
      group_.barrier(Deadline::never());
      if (plan_.shared().round_pause.load() != 0) worker_.pause_point();
    }
  }

 private:
  // All must stop, or pause, after the same step: one reads the flags for all.
  void decide() {
    const ControlHeader& header = worker_.control().header();
    plan_.shared().round_stop.store(worker_.should_stop() || header.cursor.load() >= plan_.total_batches);
    plan_.shared().round_pause.store(header.pause.load());
  }

  [[nodiscard]] std::int64_t samples_of(std::uint64_t first, int rank) const {
    const std::uint64_t batch = first + static_cast<std::uint64_t>(rank);
    return batch < plan_.total_batches ? tools_.sampler.size_of_batch(batch) : 0;
  }

  void contribute(std::uint64_t first) {
    const std::int64_t samples = samples_of(first, worker_.rank());
    double& loss = plan_.loss_of(worker_.rank());
    loss = 0.0;
    if (samples != 0) {
      loss = tools_.step->forward(tools_.sampler.batch(first + static_cast<std::uint64_t>(worker_.rank())));
      tools_.step->backward();
    }
    std::int64_t total = 0;
    for (int rank = 0; rank < worker_.world_size(); ++rank) total += samples_of(first, rank);
    const float weight = static_cast<float>(samples) / static_cast<float>(total);
    for (std::size_t i = 0; i < averaged_.size(); ++i) {
      const at::Tensor gradient = samples != 0 ? tools_.step->gradients()[i] : at::Tensor();
      write_weighted(gradient, weight, averaged_[i]);
    }
    if (samples != 0) worker_.step_done(static_cast<std::size_t>(samples), loss);
  }

  static void write_weighted(const at::Tensor& gradient, float weight, const at::Tensor& to) {
    auto* out = to.data_ptr<float>();
    const std::int64_t numel = to.numel();
    if (!gradient.defined()) {
      std::fill_n(out, numel, 0.0f);
      return;
    }
    const at::Tensor dense = gradient.contiguous();
    const auto* in = dense.data_ptr<float>();
    for (std::int64_t i = 0; i < numel; ++i) out[i] = weight * in[i];
  }

  void update(std::uint64_t first) {
    double loss = 0.0;
    for (int rank = 0; rank < worker_.world_size(); ++rank) loss += plan_.loss_of(rank);
    if (nan_watch_.admits(loss, first)) {
      tools_.optimizer.step(plan_.options.schedule.at(static_cast<std::int64_t>(first)), tools_.model.slices(),
                            averaged_);
    }
    const std::uint64_t next = first + static_cast<std::uint64_t>(worker_.world_size());
    worker_.control().header().cursor.store(std::min(next, plan_.total_batches));
  }

  const TrainPlan& plan_;
  Worker& worker_;
  WorkerTools& tools_;
  NanWatch nan_watch_;
  Group& group_;
  at::Tensor flat_;                   // the group's buffer: the worker's gradients, then those of all
  std::vector<at::Tensor> averaged_;  // its slices
};

}  // namespace

void train_synchronously(const TrainPlan& plan, Worker& worker, WorkerTools& tools) {
  SharedGroup group(plan.group.value(), worker.rank());
  try {
    SyncTraining(plan, worker, tools, group).run();
  } catch (const GroupError&) {
    // That worker's own end says more.
  }
}

}  // namespace hogpen::detail
