#pragma once

#include <functional>
#include <string>

#include "runtime/cluster/group.h"
#include "runtime/cluster/nccl_library.h"
#include "runtime/cluster/shared_group.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen {

/// A group of processes or threads of one machine, each with a GPU of its own, over NCCL.
///
/// NCCL does not notice by itself that a peer on the same machine is gone, and its kernels would wait for ever. So the
/// members also know each other through shared memory, and the communicator is one that never blocks: who finds a
/// member dead, or its own deadline passed, aborts it.
///
/// Device: cuda:`gpu`. Accuracy: NCCL chooses the order of summation, for a number of GPUs always the same one.
/// Sharing: `abort` from any thread, all else by the one that made it, with the GPU still current there.
/// Owns: the communicator, a share of the memory. Requires: what writes a tensor has been enqueued before on `stream`,
/// or has ended. Throws: besides what a Group does, NcclError and CudaError, after which the group has ended.
class NcclGroup final : public Group {
 public:
  struct Options {
    int gpu = 0;
    cuda::Stream stream = nullptr;  ///< on which NCCL works; null: the default stream
  };

  /// Joins, which all members do together. `memory` was made before the fork; it needs no buffer.
  ///
  /// Throws: UsageError when two ranks have one GPU, which NCCL does not support; DeviceError when there is no such GPU
  /// or no NCCL; UsageError in a child of a process that had begun to use CUDA; what a verb throws.
  NcclGroup(SharedGroup::Memory memory, int rank, const Options& options, Deadline deadline);
  ~NcclGroup() override;

  [[nodiscard]] int rank() const noexcept override { return host_.rank(); }
  [[nodiscard]] int world_size() const noexcept override { return host_.world_size(); }

  void broadcast(const at::Tensor& tensor, int root, Deadline deadline) override;
  void all_reduce(const at::Tensor& tensor, Reduction reduction, Deadline deadline) override;
  void barrier(Deadline deadline) override { host_.barrier(deadline); }
  void abort() noexcept override { host_.abort(); }

 private:
  using Start = std::function<int()>;  // a call of NCCL

  void require_takes(const at::Tensor& tensor) const;
  void refuse_shared_gpus(Deadline deadline);
  void connect(Deadline deadline);
  void run(const char* verb, const char* function, Deadline deadline, const Start& start);
  [[nodiscard]] bool is_in_progress(const char* function) const;
  [[nodiscard]] bool is_stream_busy() const;
  void finalize();
  void abort_communicator() noexcept;

  SharedGroup::Memory memory_;
  SharedGroup host_;
  Options options_;
  const NcclLibrary& nccl_;
  nccl::Communicator communicator_ = nullptr;
};

}  // namespace hogpen
