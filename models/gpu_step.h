#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/shared_model.h"
#include "models/train_step.h"

namespace hogpen {

/// What a step has computed, in GPU memory: there when the GPU has come so far.
struct GpuGradients {
  at::Tensor loss;                    ///< float32, one element: the mean cross-entropy
  std::vector<at::Tensor> gradients;  ///< of `SharedModel::parameters()`; undefined where the loss depends on none
};

/// A training step's forward and backward pass on a GPU: asynchronous on the calling thread's stream.
///
/// Sharing: one object a worker; it reads the shared parameters. Owns: gradients and activations.
class GpuStep {
 public:
  virtual ~GpuStep() = default;

  /// Enqueues both passes; nothing waits. Captured in a CUDA graph, a replay takes the samples whose numbers stand in
  /// `samples` then.
  ///
  /// Shapes: `samples` [n] of at most the batch size. Dtypes: int32. Device: the parameters'. Requires: what is
  /// returned is kept for as long as it is to be computed, and `samples` too.
  [[nodiscard]] virtual GpuGradients enqueue(const at::Tensor& samples) = 0;
};

/// By LibTorch's autograd: any module. Requires: `load_libtorch_cuda`.
[[nodiscard]] std::unique_ptr<GpuStep> make_autograd_gpu_step(SharedModel& model, BatchBuffer buffer);

/// By hogpen's own kernels (kernels/layers_cuda.h), without LibTorch's. The masks of dropouts follow from LibTorch's
/// generator of random numbers, which gives a seed.
///
/// Throws: UsageError for a batch with a layer of 2³¹ numbers; CudaError. Requires: `can_fuse`.
[[nodiscard]] std::unique_ptr<GpuStep> make_fused_gpu_step(SharedModel& model, const BatchBuffer& buffer,
                                                           std::int64_t batch_size);
/// How much memory of the GPU that step has, beside the gradients.
[[nodiscard]] std::size_t fused_gpu_step_bytes(const SharedModel& model, const Dataset& data, std::int64_t batch_size);

using GpuStepMaker = std::function<std::unique_ptr<GpuStep>()>;

/// For who makes one step at a time: `forward` computes both passes, as one CUDA graph, and waits for them. The thread
/// has a stream of its own from now on. The gradients are those of the model's slices.
///
/// Throws: CudaError; what `make_step` throws.
[[nodiscard]] std::unique_ptr<TrainStep> make_waiting_step(const GpuStepMaker& make_step, const SharedModel& model,
                                                           std::int64_t batch_size);

}  // namespace hogpen
