#include <ATen/Context.h>

#include <deque>
#include <functional>
#include <optional>

#include "models/sync_training.h"
#include "models/train_plan.h"
#include "models/worker_tools.h"
#include "runtime/core/libtorch.h"

namespace hogpen::detail {
namespace {

/// Steps that others began since this one's parameters held `known`: as many as they ended, since a worker that ends
/// one begins the next. Counting the claims costs one load, whatever the number of workers.
std::uint64_t unknown_steps(std::uint64_t known, const std::atomic<std::uint64_t>& claimed) {
  // Relaxed: a statistic; it orders nothing.
  const std::uint64_t now = claimed.load(std::memory_order_relaxed);
  return now > known + 1 ? now - known - 1 : 0;
}

void train_asynchronously(const TrainPlan& plan, Worker& worker, WorkerTools& tools) {
  NanWatch nan_watch(plan, worker);
  const bool is_locked = plan.options.mode == UpdateMode::locked;
  const bool is_plain = !is_locked && tools.optimizer.is_plain_sgd();
  const std::atomic<std::uint64_t>& claimed = worker.control().header().cursor;
  const std::function<void()> before_pause = [&] {
    if (tools.replica) tools.replica->merge();
  };
  for (; !worker.should_stop(); worker.pause_point(before_pause)) {
    const auto batch = worker.claim(plan.total_batches);
    if (!batch) return;
    const std::uint64_t known_steps = tools.replica ? tools.replica->begin_step() : *batch;
    const auto samples = tools.sampler.batch(*batch);
    const double loss = tools.step->forward(samples);
    if (!nan_watch.admits(loss, *batch)) continue;
    const double lr = plan.options.schedule.at(static_cast<std::int64_t>(*batch));
    if (is_plain && tools.step->update(lr)) {
      tools.optimizer.count_step();
    } else {
      tools.step->backward();
      const auto guard = is_locked ? plan.shared().update_lock.lock(Deadline::never()) : std::nullopt;
      tools.optimizer.step(lr, tools.model.slices(), tools.step->gradients());
    }
    worker.step_done(samples.size(), loss, unknown_steps(known_steps, claimed));
    if (tools.replica) tools.replica->end_step();
  }
}

/// As `train_asynchronously`, with several steps of this worker on their way.
class PipelinedTraining {
 public:
  PipelinedTraining(const TrainPlan& plan, Worker& worker, WorkerTools& tools)
      : plan_(plan), worker_(worker), tools_(tools), nan_watch_(plan, worker) {}

  void run() {
    const std::function<void()> before_pause = [this] { finish_all(); };
    for (; !worker_.should_stop(); worker_.pause_point(before_pause)) {
      if (tools_.pipeline->is_full()) finish_one();
      const auto batch = worker_.claim(plan_.total_batches);
      if (!batch) break;
      tools_.pipeline->begin(tools_.sampler.batch(*batch),
                             plan_.options.schedule.at(static_cast<std::int64_t>(*batch)));
      on_their_way_.push_back(*batch);
    }
    finish_all();
  }

 private:
  void finish_one() {
    const double loss = tools_.pipeline->finish();
    const std::uint64_t batch = on_their_way_.front();
    on_their_way_.pop_front();
    if (!nan_watch_.admits(loss, batch)) return;
    const auto samples = static_cast<std::uint64_t>(tools_.sampler.size_of_batch(batch));
    worker_.step_done(samples, loss, unknown_steps(batch + on_their_way_.size(), worker_.control().header().cursor));
  }
  void finish_all() {
    while (!on_their_way_.empty()) finish_one();
  }

  const TrainPlan& plan_;
  Worker& worker_;
  WorkerTools& tools_;
  NanWatch nan_watch_;
  std::deque<std::uint64_t> on_their_way_;  // batches
};

}  // namespace

void train_worker(const TrainPlan& plan, Worker& worker) {
  std::optional<GpuTraining> gpu;
  if (!plan.gpus.empty()) {
    if (plan.engine == Engine::autograd) load_libtorch_cuda();
    gpu = GpuTraining::wait_for(plan, worker);
    if (!gpu) return;
  }
  // Each worker draws its own dropout masks.
  at::manual_seed(plan.options.seed + static_cast<std::uint64_t>(worker.rank()) + 1);
  WorkerTools tools(plan, worker, gpu);
  if (!gpu) {
    plan.model.segment().mapping()->prefault();
    plan.optimizer_state.segment().mapping()->prefault();
  }
  worker.wait_for_start();
  if (plan.options.mode == UpdateMode::sync) {
    train_synchronously(plan, worker, tools);
  } else if (tools.pipeline) {
    PipelinedTraining(plan, worker, tools).run();
  } else {
    train_asynchronously(plan, worker, tools);
    if (tools.replica) tools.replica->merge();
  }
}

}  // namespace hogpen::detail
