#include "models/train_plan.h"

#include <new>

#include "runtime/core/log.h"

namespace hogpen::detail {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kLossesBegin = (sizeof(TrainShared) + kLine - 1) / kLine * kLine;

// Nothing but the buffers goes through the group.
constexpr std::size_t kLittleStaging = 4096;

}  // namespace

TrainShared& TrainPlan::shared() const {
  return *reinterpret_cast<TrainShared*>(shared_segment->data());
}

std::atomic<double>& TrainPlan::loss_of(int rank) const {
  return reinterpret_cast<SyncLoss*>(shared_segment->data() + kLossesBegin)[rank].value;
}

void TrainPlan::share() {
  const auto workers = static_cast<std::size_t>(options.launcher.workers);
  const bool is_sync = options.mode == UpdateMode::sync;
  const std::size_t size = kLossesBegin + (is_sync ? workers * sizeof(SyncLoss) : 0);
  shared_segment = std::make_shared<Segment>(Segment::create("train", size));
  new (shared_segment->data()) TrainShared;
  if (!is_sync) return;
  for (std::size_t rank = 0; rank < workers; ++rank) {
    new (shared_segment->data() + kLossesBegin + rank * sizeof(SyncLoss)) SyncLoss;
  }
  group.emplace(
      SharedGroup::Options{.world_size = options.launcher.workers,
                           .buffer_bytes = gpus.empty() ? static_cast<std::size_t>(flat_numel) * sizeof(float) : 0,
                           .staging_bytes = kLittleStaging});
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
