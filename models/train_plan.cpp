#include "models/train_plan.h"

#include <new>

#include "runtime/core/log.h"

namespace hogpen::detail {
namespace {

constexpr std::size_t kLine = 64;

constexpr std::size_t whole_lines(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

constexpr std::size_t kContributionsBegin = whole_lines(sizeof(TrainShared));

std::size_t gradient_bytes(const TrainPlan& plan) {
  return whole_lines(static_cast<std::size_t>(plan.flat_numel) * sizeof(float));
}

std::size_t gradients_begin(const TrainPlan& plan) {
  return kContributionsBegin + static_cast<std::size_t>(plan.options.launcher.workers) * sizeof(SyncContribution);
}

}  // namespace

TrainShared& TrainPlan::shared() const {
  return *reinterpret_cast<TrainShared*>(shared_segment->data());
}

SyncContribution& TrainPlan::contribution(int rank) const {
  return reinterpret_cast<SyncContribution*>(shared_segment->data() + kContributionsBegin)[rank];
}

float* TrainPlan::flat_gradients(int rank) const {
  return reinterpret_cast<float*>(shared_segment->data() + gradients_begin(*this) +
                                  static_cast<std::size_t>(rank) * gradient_bytes(*this));
}

void TrainPlan::share() {
  const int workers = options.launcher.workers;
  std::size_t size = sizeof(TrainShared);
  if (options.mode == UpdateMode::sync) {
    size = gradients_begin(*this) + static_cast<std::size_t>(workers) * gradient_bytes(*this);
  }
  shared_segment = std::make_shared<Segment>(Segment::create("train", size));
  new (shared_segment->data()) TrainShared(workers);
  if (options.mode != UpdateMode::sync) return;
  for (int rank = 0; rank < workers; ++rank) new (&contribution(rank)) SyncContribution;
}

void TrainPlan::make_node_replicas() {
  if (options.replicas != Replicas::per_numa) return;
  nodes = numa_nodes();
  if (nodes.size() == 1) {
    log(LogLevel::info, "replicas per-numa: there is one NUMA node here, so all workers train the shared parameters");
    return;
  }
  for (const NumaNode& node : nodes) {
    const PreferNode prefer(node.id);
    node_replicas.push_back(Replica::make_memory(flat_numel));
  }
}

}  // namespace hogpen::detail
