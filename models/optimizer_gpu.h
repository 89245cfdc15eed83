#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>

#include "kernels/update.h"
#include "models/optimizer.h"
#include "models/optimizer_scalars.h"
#include "runtime/memory/cuda_buffer.h"

namespace hogpen::detail {

/// What an Optimizer needs for steps on a GPU: the scalars of its kernel, which lie there. A step sets their learning
/// rate, from page-locked memory of the host, and their number; all else of them stays. So the blocks of an update read
/// nothing from the host.
///
/// Sharing: one thread. Owns: both memories; see `CudaBuffer`.
class GpuSteps {
 public:
  /// Throws: as `CudaBuffer`.
  GpuSteps(const OptimizerOptions& options, c10::Device gpu, kernels::Write write);

  /// See `Optimizer::set_lr`.
  void set_lr(double lr) noexcept;
  /// LibTorch's current stream; makes the GPU current for the calling thread. Throws: what `use_gpu` throws.
  [[nodiscard]] CUstream_st* stream() const;
  /// Enqueues what counts the step and sets the scalars, in front of its updates. Throws: as `Optimizer::enqueue`.
  void begin(std::int64_t* steps, const StepOnGpu& there, CUstream_st* stream);
  /// Throws: as `Optimizer::enqueue`.
  void update(const UpdateArrays& arrays, const float* loss, CUstream_st* stream);
  /// What stands there when all that was enqueued is done. Throws: CudaError.
  [[nodiscard]] std::int64_t count(const std::int64_t* steps) const;
  void set_count(std::int64_t* steps, std::int64_t number) const;

 private:
  void put_scalars();
  template <class Scalars>
  void put(const Scalars& scalars);
  template <class Scalars>
  [[nodiscard]] const Scalars* scalars() const noexcept {
    return static_cast<const Scalars*>(scalars_.data());
  }

  OptimizerOptions options_;
  c10::Device gpu_;
  kernels::Write write_;
  CudaBuffer next_lr_;  // a double, on the host
  CudaBuffer scalars_;  // of this kind's kernel
  double* lr_ = nullptr;
  std::int64_t* step_ = nullptr;  // null for scalars that have none
};

}  // namespace hogpen::detail
