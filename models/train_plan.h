#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/sampler.h"
#include "models/train_gpu.h"
#include "models/trainer.h"
#include "runtime/cluster/shared_group.h"
#include "runtime/memory/arena.h"
#include "runtime/process/numa.h"
#include "runtime/sync/mutex.h"

namespace hogpen::detail {

/// What the workers of one training share beside the parameters and the control block.
struct TrainShared {
  Mutex update_lock;                             ///< mode locked
  std::atomic<std::uint32_t> round_stop{0};      ///< mode sync: rank 0's word for all: the end
  std::atomic<std::uint32_t> round_pause{0};     ///< mode sync: likewise: to the pause point
  std::atomic<std::uint64_t> diverged_at{0};     ///< 1 + the batch whose loss was NaN or infinite; 0: none
  std::atomic<std::uint32_t> has_saved{0};       ///< the keeper has done its last work
  std::array<GpuPieces, kMostGpus> gpus;         ///< of each of the plan's: where the training lies
  std::atomic<std::uint32_t> gpus_are_ready{0};  ///< all their memory has what a training begins with
};

/// Mode sync: the loss of a worker's batch. Written by it alone, read by who updates after the step's all-reduce.
struct alignas(64) SyncLoss {
  std::atomic<double> value{0.0};
};

/// All that a worker and the keeper need to know, settled before they start.
///
/// Sharing: read-only after the start but for the memory it refers to. Owns: shares of the Segments.
struct TrainPlan {
  ModelFactory factory;
  std::string description;
  DatasetPair data;
  Dataset::Normalization normalization;
  TrainerOptions options;
  Arena model;
  Arena optimizer_state;
  Engine engine = Engine::automatic;  ///< never automatic
  std::vector<int> gpus;              ///< whose memory holds the training; none: the Arenas above do
  bool has_samples_on_gpus = true;    ///< else they are too many, and the GPUs read them from the host's memory
  std::int64_t flat_numel = 0;
  int optimizer_copies = 1;  ///< rows of private optimizer state: one a worker; in mode sync one for all
  std::int64_t batches_per_epoch = 0;
  std::uint64_t first_batch = 0;
  std::uint64_t total_batches = 0;
  std::shared_ptr<Segment> shared_segment;   ///< TrainShared, then for mode sync a SyncLoss for each worker
  std::optional<SharedGroup::Memory> group;  ///< mode sync; on CPUs its buffers hold gradients, as SyncGradients says
  std::vector<NumaNode> nodes;               ///< replicas per_numa: the machine's
  std::vector<Arena> node_replicas;          ///< one for each of `nodes`; none where there is but one node
  int evaluations_fd = -1;                   ///< the keeper writes an Evaluation there after each

  [[nodiscard]] TrainShared& shared() const;
  [[nodiscard]] std::atomic<double>& loss_of(int rank) const;

  /// The checkpoint to resume had it all.
  [[nodiscard]] bool has_nothing_to_train() const noexcept { return first_batch >= total_batches; }

  /// Makes `shared_segment` and `group`.
  void share();
  /// Makes `nodes` and `node_replicas` where the options ask for them.
  void make_node_replicas();
};

/// The body of a worker.
void train_worker(const TrainPlan& plan, Worker& worker);

/// The body of the keeper: evaluates, logs and saves while the workers train, and once more when they are done.
void keep(const TrainPlan& plan, Worker& worker);

}  // namespace hogpen::detail
