#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "models/replica.h"
#include "models/train_plan.h"
#include "models/train_step.h"
#include "runtime/core/error.h"

namespace hogpen::detail {
namespace {

// With OnNan::skip: so many bad steps in a row mean that the parameters themselves are lost.
constexpr int kMostSkippedInARow = 100;

std::unique_ptr<TrainStep> make_step(const TrainPlan& plan, SharedModel& model) {
  const std::int64_t batch_size = std::min(plan.options.batch_size, plan.data.train.size());
  BatchBuffer buffer(plan.data.train, plan.normalization, batch_size, model.model().takes_images);
  if (plan.engine == Engine::own) return plan.options.step(model, std::move(buffer), batch_size);
  if (plan.engine == Engine::autograd) return make_autograd_step(model, std::move(buffer));
  return make_fused_step(model, std::move(buffer), batch_size);
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

/// A worker's tools: its module on the shared parameters or its replica of them, and all that is private to it.
struct Tools {
  Tools(const TrainPlan& plan, const Worker& worker)
      : model(plan.factory(), plan.model),
        replica(join_replica(plan, worker, model)),
        step(make_step(plan, model)),
        // In mode sync rank 0 updates for all, and there is one row of state.
        optimizer(plan.options.optimizer, model.flat(), plan.optimizer_state, worker.rank() % plan.optimizer_copies,
                  write_of_optimizer(plan)),
        sampler(plan.data.train.size(), plan.options.batch_size, plan.options.seed) {}

  SharedModel model;
  std::optional<Replica> replica;
  std::unique_ptr<TrainStep> step;
  Optimizer optimizer;
  EpochSampler sampler;
};

void diverge(const TrainPlan& plan, Worker& worker, std::uint64_t batch) {
  plan.shared().diverged_at.store(batch + 1);
  worker.stop_all();
}

/// What becomes of a step whose loss is no number.
class NanWatch {
 public:
  NanWatch(const TrainPlan& plan, Worker& worker) : plan_(plan), worker_(worker) {}

  /// True when the step may update the parameters.
  bool admits(double loss, std::uint64_t batch) {
    if (std::isfinite(loss)) [[likely]] {
      in_a_row_ = 0;
      return true;
    }
    worker_.step_skipped(loss);
    if (plan_.options.on_nan == OnNan::stop || ++in_a_row_ == kMostSkippedInARow) diverge(plan_, worker_, batch);
    return false;
  }

 private:
  const TrainPlan& plan_;
  Worker& worker_;
  int in_a_row_ = 0;
};

/// Steps that others began since this one's parameters held `known`: as many as they ended, since a worker that ends
/// one begins the next. Counting the claims costs one load, whatever the number of workers.
std::uint64_t unknown_steps(std::uint64_t known, const std::atomic<std::uint64_t>& claimed) {
  // Relaxed: a statistic; it orders nothing.
  const std::uint64_t now = claimed.load(std::memory_order_relaxed);
  return now > known + 1 ? now - known - 1 : 0;
}

void train_asynchronously(const TrainPlan& plan, Worker& worker, Tools& tools) {
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

/// Mode sync, one step at a time: every worker computes the gradients of a batch of its own; each averages a part of
/// them over all workers, in the order of ranks; rank 0 updates the parameters. The barrier stands between these parts.
class SyncTraining {
 public:
  SyncTraining(const TrainPlan& plan, Worker& worker, Tools& tools)
      : plan_(plan), worker_(worker), tools_(tools), nan_watch_(plan, worker) {
    for (const FlatSlice& slice : tools.model.slices()) {
      averaged_.push_back(at::from_blob(plan.flat_gradients(0) + slice.offset, {slice.numel}, at::kFloat));
    }
  }

  void run() {
    std::atomic<std::uint64_t>& cursor = worker_.control().header().cursor;
    if (worker_.rank() == 0) decide();
    if (!pass_barrier()) return;
    while (plan_.shared().round_stop.load() == 0) {
      const std::uint64_t first = cursor.load();
      contribute(first + static_cast<std::uint64_t>(worker_.rank()));
      if (!pass_barrier()) return;
      average();
      if (!pass_barrier()) return;
      if (worker_.rank() == 0) {
        update(first);
        decide();
      }
      if (!pass_barrier()) return;
      if (plan_.shared().round_pause.load() != 0) worker_.pause_point();
    }
  }

 private:
  bool pass_barrier() { return plan_.shared().round.arrive_and_wait(Deadline::never()) == Barrier::Passed::yes; }

  // All must stop, or pause, after the same step: one reads the flags for all.
  void decide() {
    const ControlHeader& header = worker_.control().header();
    plan_.shared().round_stop.store(worker_.should_stop() || header.cursor.load() >= plan_.total_batches);
    plan_.shared().round_pause.store(header.pause.load());
  }

  void contribute(std::uint64_t batch) {
    SyncContribution& mine = plan_.contribution(worker_.rank());
    float* gradients = plan_.flat_gradients(worker_.rank());
    mine = {};
    std::fill_n(gradients, plan_.flat_numel, 0.0f);
    if (batch >= plan_.total_batches) return;
    const auto samples = tools_.sampler.batch(batch);
    mine.loss = tools_.step->forward(samples);
    tools_.step->backward();
    mine.samples = static_cast<std::int64_t>(samples.size());
    for (std::size_t i = 0; i < tools_.model.slices().size(); ++i) {
      const at::Tensor& gradient = tools_.step->gradients()[i];
      if (!gradient.defined()) continue;
      const FlatSlice& slice = tools_.model.slices()[i];
      std::memcpy(gradients + slice.offset, gradient.contiguous().data_ptr<float>(),
                  static_cast<std::size_t>(slice.numel) * sizeof(float));
    }
    worker_.step_done(samples.size(), mine.loss);
  }

  // Into the gradients of rank 0.
  void average() {
    const std::int64_t workers = worker_.world_size();
    const std::int64_t begin = plan_.flat_numel * worker_.rank() / workers;
    const std::int64_t end = plan_.flat_numel * (worker_.rank() + 1) / workers;
    std::int64_t total = 0;
    for (int rank = 0; rank < workers; ++rank) total += plan_.contribution(rank).samples;
    float* sum = plan_.flat_gradients(0);
    for (int rank = 0; rank < workers; ++rank) {
      const float weight = static_cast<float>(plan_.contribution(rank).samples) / static_cast<float>(total);
      const float* part = plan_.flat_gradients(rank);
      for (std::int64_t i = begin; i < end; ++i) sum[i] = (rank == 0 ? 0.0f : sum[i]) + weight * part[i];
    }
  }

  void update(std::uint64_t first) {
    double loss = 0.0;
    for (int rank = 0; rank < worker_.world_size(); ++rank) loss += plan_.contribution(rank).loss;
    if (nan_watch_.admits(loss, first)) {
      tools_.optimizer.step(plan_.options.schedule.at(static_cast<std::int64_t>(first)), tools_.model.slices(),
                            averaged_);
    }
    const std::uint64_t next = first + static_cast<std::uint64_t>(worker_.world_size());
    worker_.control().header().cursor.store(std::min(next, plan_.total_batches));
  }

  const TrainPlan& plan_;
  Worker& worker_;
  Tools& tools_;
  NanWatch nan_watch_;
  std::vector<at::Tensor> averaged_;
};

}  // namespace

void train_worker(const TrainPlan& plan, Worker& worker) {
  // Each worker draws its own dropout masks.
  at::manual_seed(plan.options.seed + static_cast<std::uint64_t>(worker.rank()) + 1);
  Tools tools(plan, worker);
  plan.model.segment().mapping()->prefault();
  plan.optimizer_state.segment().mapping()->prefault();
  worker.wait_for_start();
  if (plan.options.mode == UpdateMode::sync) {
    SyncTraining(plan, worker, tools).run();
  } else {
    train_asynchronously(plan, worker, tools);
    if (tools.replica) tools.replica->merge();
  }
}

}  // namespace hogpen::detail
