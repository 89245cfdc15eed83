#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/layers_cuda.h"
#include "models/fused_plan.h"

namespace hogpen::detail {

/// A layer, and the activation behind it, which its kernel computes too.
///
/// Sharing: a value.
struct GpuStagePlan {
  FusedLayerPlan layer;
  kernels::Activation activation = kernels::Activation::identity;
};

/// Puts activations to the layers before them. The last stage has none: the gradient of its output is the loss's.
[[nodiscard]] std::vector<GpuStagePlan> plan_gpu_stages(std::span<const FusedLayerPlan> layers);

/// What the engine has of a stage on its GPU.
///
/// Sharing: one object a worker; the parameters are shared. Owns: what is remembered from one pass to the other.
class GpuStage {
 public:
  /// A parameter, and the worker's own gradient of it.
  struct Parameter {
    const float* values = nullptr;
    float* gradient = nullptr;
  };
  /// The random numbers that dropouts take.
  struct Random {
    const std::uint64_t* state = nullptr;
    std::size_t skipped = 0;
  };

  /// Throws: what `tensor_on_gpu` throws.
  GpuStage(const GpuStagePlan& plan, c10::Device gpu, std::int64_t batch_size, const Parameter& weight,
           const Parameter& bias, const Random& random);

  [[nodiscard]] const FusedLayerPlan& layer() const noexcept { return plan_.layer; }
  [[nodiscard]] float* output() const { return static_cast<float*>(output_.mutable_data_ptr()); }
  /// How many random numbers it takes for a batch of so many.
  [[nodiscard]] static std::size_t random_numbers(const GpuStagePlan& plan, std::int64_t batch_size);
  /// How much of the GPU's memory it has.
  [[nodiscard]] static std::size_t needed_bytes(const GpuStagePlan& plan, std::int64_t batch_size);

  void forward(const kernels::LayerInput& input, std::size_t rows, CUstream_st* stream) const;
  /// `before_gradient` becomes the gradient of what stood before the activation of the stage `before`.
  void backward(const float* gradient, const GpuStage& before, float* before_gradient, std::size_t rows,
                CUstream_st* stream) const;
  /// Writes the gradients of the parameters, if it has any.
  void differentiate(const float* gradient, const kernels::LayerInput& input, std::size_t rows,
                     CUstream_st* stream) const;

 private:
  [[nodiscard]] kernels::Activated activated() const;
  [[nodiscard]] kernels::DenseShape dense(std::size_t rows) const;
  [[nodiscard]] kernels::DropoutMask mask() const;

  GpuStagePlan plan_;
  Parameter weight_;
  Parameter bias_;
  Random random_;
  at::Tensor output_;
  at::Tensor before_activation_;  // for gelu alone
  at::Tensor places_;             // of a pool's maxima
  at::Tensor part_sums_;          // of a convolution's gradients
};

}  // namespace hogpen::detail
