#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "runtime/cluster/nccl_threads.h"
#include "runtime/memory/arena.h"
#include "runtime/process/worker.h"

namespace hogpen::detail {

struct TrainPlan;

constexpr std::size_t kMostGpus = 16;  // of one machine, in one training

/// What a training has in a GPU's memory, as the family knows it: the blocks that stand for the pieces. Each is kept by
/// a share that belongs to no process, until the launcher releases it.
///
/// Sharing: shared memory, written by the keeper, read by all.
struct GpuPieces {
  enum Piece : std::size_t { model, optimizer_state, samples, count };

  std::array<std::atomic<std::uint64_t>, count> blocks{};
};

/// One process's view of a training in one GPU's memory.
///
/// The keeper makes the pieces and copies the host's to them; workers attach when all are ready. A keeper that replaces
/// a dead one finds what that one had made, makes the rest, and copies unless all had been ready: then they are being
/// trained. Of several GPUs each has all pieces, and trains a replica of the parameters with the workers that are dealt
/// to it: rank r to the GPU r modulo their number. The first gets the host's, and broadcasts it to the others.
///
/// Sharing: the object is one process's or thread's; the memory is shared. Owns: shares of the memory.
struct GpuTraining {
  Arena model;
  Arena optimizer_state;
  at::Tensor samples;  ///< uint8 [bytes of Dataset::samples]; where those lie on the host, read from there by the GPU

  /// For the keeper: one for each of the plan's GPUs. `group`: of these GPUs, where there are several; else none.
  ///
  /// Throws: what `DeviceMemory::create` and `find`, and `NcclThreads::run` throw.
  [[nodiscard]] static std::vector<GpuTraining> make(const TrainPlan& plan, NcclThreads* group);
  /// For a worker: on its GPU; none when the run ends before the keeper has made it. Throws: what `DeviceMemory::find`
  /// throws.
  [[nodiscard]] static std::optional<GpuTraining> wait_for(const TrainPlan& plan, const Worker& worker);

  /// How much memory such pieces take on a GPU.
  [[nodiscard]] static std::size_t needed_bytes(std::initializer_list<std::size_t> pieces_bytes);
  /// For the launcher, when all have ended: the driver frees what nobody else has.
  static void release(std::span<GpuPieces> gpus) noexcept;
};

/// Copies the optimizer's state to the host: each worker's row from its GPU; what is all workers' from the first.
///
/// Throws: CudaError.
void copy_optimizer_state(std::span<const GpuTraining> from, const Arena& to);

}  // namespace hogpen::detail
