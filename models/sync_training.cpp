#include "models/sync_training.h"

#include <algorithm>
#include <cmath>

#include "models/sync_gradients.h"

namespace hogpen::detail {
namespace {

class SyncTraining {
 public:
  SyncTraining(const TrainPlan& plan, Worker& worker, WorkerTools& tools)
      : plan_(plan),
        worker_(worker),
        tools_(tools),
        nan_watch_(plan, worker),
        gradients_(SyncGradients::make(plan, worker.rank(), tools.model.slices())) {}

  void run() {
    const std::atomic<std::uint64_t>& cursor = worker_.control().header().cursor;
    if (worker_.rank() == 0) decide();
    gradients_->group().barrier(Deadline::after(kPatienceInSync));
    while (plan_.shared().round_stop.load() == 0) {
      const std::uint64_t first = cursor.load();
      contribute(first);
      gradients_->add_up();
      if (worker_.rank() == 0 || plan_.gpus.size() > 1) update(first);
      if (worker_.rank() == 0) {
        advance_from(first);
        decide();
      }
      gradients_->group().barrier(Deadline::after(kPatienceInSync));
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
    double loss = 0.0;
    if (samples != 0) {
      loss = tools_.step->forward(tools_.sampler.batch(first + static_cast<std::uint64_t>(worker_.rank())));
      tools_.step->backward();
    }
    plan_.loss_of(worker_.rank()).store(loss);
    std::int64_t total = 0;
    for (int rank = 0; rank < worker_.world_size(); ++rank) total += samples_of(first, rank);
    const float weight = static_cast<float>(samples) / static_cast<float>(total);
    gradients_->put(samples != 0 ? tools_.step->gradients() : std::span<const at::Tensor>(), weight);
    if (samples != 0) worker_.step_done(static_cast<std::size_t>(samples), loss);
  }

  void update(std::uint64_t first) {
    double loss = 0.0;
    for (int rank = 0; rank < worker_.world_size(); ++rank) loss += plan_.loss_of(rank).load();
    // All judge alike, and one counts and stops.
    const bool is_good = worker_.rank() == 0 ? nan_watch_.admits(loss, first) : std::isfinite(loss);
    if (!is_good) return;
    tools_.optimizer.step(plan_.options.schedule.at(static_cast<std::int64_t>(first)), tools_.model.slices(),
                          gradients_->slices());
  }

  void advance_from(std::uint64_t first) {
    const std::uint64_t next = first + static_cast<std::uint64_t>(worker_.world_size());
    worker_.control().header().cursor.store(std::min(next, plan_.total_batches));
  }

  const TrainPlan& plan_;
  Worker& worker_;
  WorkerTools& tools_;
  NanWatch nan_watch_;
  std::unique_ptr<SyncGradients> gradients_;
};

}  // namespace

void train_synchronously(const TrainPlan& plan, Worker& worker, WorkerTools& tools) {
  try {
    SyncTraining(plan, worker, tools).run();
  } catch (const GroupError&) {
    // That worker's own end says more.
  }
}

}  // namespace hogpen::detail
