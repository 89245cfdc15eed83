#include "models/worker_tools.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hogpen::detail {
namespace {

// With OnNan::skip: so many bad steps in a row mean that the parameters themselves are lost.
constexpr int kMostSkippedInARow = 100;

std::int64_t batch_size_of(const TrainPlan& plan) {
  return std::min(plan.options.batch_size, plan.data.train.size());
}

BatchBuffer make_buffer(const TrainPlan& plan, const SharedModel& model, const std::optional<GpuTraining>& gpu) {
  return {plan.data.train, plan.normalization, batch_size_of(plan), model.model().takes_images,
          gpu ? gpu->samples : at::Tensor()};
}

std::unique_ptr<GpuStep> make_gpu_step(const TrainPlan& plan, SharedModel& model, const BatchBuffer& buffer) {
  return plan.engine == Engine::fused ? make_fused_gpu_step(model, buffer, batch_size_of(plan))
                                      : make_autograd_gpu_step(model, buffer);
}

bool has_pipeline(const TrainPlan& plan) {
  return !plan.gpus.empty() && plan.engine != Engine::own && plan.options.mode != UpdateMode::sync;
}

/// Null where a pipeline computes the steps.
std::unique_ptr<TrainStep> make_step(const TrainPlan& plan, SharedModel& model, const std::optional<GpuTraining>& gpu) {
  if (has_pipeline(plan)) return nullptr;
  const std::int64_t batch_size = batch_size_of(plan);
  BatchBuffer buffer = make_buffer(plan, model, gpu);
  if (plan.engine == Engine::own) return plan.options.step(model, std::move(buffer), batch_size);
  if (!plan.gpus.empty())
    return make_waiting_step([&] { return make_gpu_step(plan, model, buffer); }, model, batch_size);
  if (plan.engine == Engine::autograd) return make_autograd_step(model, std::move(buffer));
  return make_fused_step(model, std::move(buffer), batch_size);
}

std::unique_ptr<GpuPipeline> make_pipeline(const TrainPlan& plan, SharedModel& model, Optimizer& optimizer,
                                           const std::optional<GpuTraining>& gpu) {
  if (!has_pipeline(plan)) return nullptr;
  return std::make_unique<GpuPipeline>(model, batch_size_of(plan), optimizer,
                                       [&] { return make_gpu_step(plan, model, make_buffer(plan, model, gpu)); });
}

kernels::Write write_to_shared(const TrainPlan& plan) {
  return plan.options.mode == UpdateMode::atomic ? kernels::Write::atomic : kernels::Write::plain;
}

/// How a worker's optimizer writes: what is its own alone it need not write atomically.
kernels::Write write_of_optimizer(const TrainPlan& plan) {
  const bool is_all_its_own =
      plan.options.replicas == Replicas::per_worker && plan.options.optimizer.state == StateSharing::private_;
  return is_all_its_own ? kernels::Write::plain : write_to_shared(plan);
}

/// Lets the model train a replica from now on; nothing where all workers train the shared parameters themselves.
std::optional<Replica> join_replica(const TrainPlan& plan, const Worker& worker, SharedModel& model) {
  const bool is_own = plan.options.replicas == Replicas::per_worker;
  if (!is_own && plan.node_replicas.empty()) return {};
  std::optional<Replica> replica;
  replica.emplace(is_own ? Replica::make_memory(plan.flat_numel)
                         : plan.node_replicas[settle_on_node(plan.nodes, worker.rank(), worker.world_size())],
                  model.flat(), model.slices(), worker.control().header().cursor,
                  Replica::Options{.merge_every = plan.options.merge_every,
                                   .to_center = write_to_shared(plan),
                                   .to_replica = is_own ? kernels::Write::plain : write_to_shared(plan)});
  model.train_in(replica->parameters());
  return replica;
}

void diverge(const TrainPlan& plan, Worker& worker, std::uint64_t batch) {
  plan.shared().diverged_at.store(batch + 1);
  worker.stop_all();
}

}  // namespace

WorkerTools::WorkerTools(const TrainPlan& plan, const Worker& worker, const std::optional<GpuTraining>& gpu)
    : model(plan.factory(), gpu ? gpu->model : plan.model),
      replica(join_replica(plan, worker, model)),
      step(make_step(plan, model, gpu)),
      // In mode sync rank 0 updates for all, and there is one row of state.
      optimizer(plan.options.optimizer, model.flat(), gpu ? gpu->optimizer_state : plan.optimizer_state,
                worker.rank() % plan.optimizer_copies, write_of_optimizer(plan)),
      pipeline(make_pipeline(plan, model, optimizer, gpu)),
      sampler(plan.data.train.size(), plan.options.batch_size, plan.options.seed) {}

bool NanWatch::admits(double loss, std::uint64_t batch) {
  if (std::isfinite(loss)) [[likely]] {
    in_a_row_ = 0;
    return true;
  }
  worker_.step_skipped(loss);
  if (plan_.options.on_nan == OnNan::stop || ++in_a_row_ == kMostSkippedInARow) diverge(plan_, worker_, batch);
  return false;
}

}  // namespace hogpen::detail
