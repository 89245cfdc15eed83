#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "models/fused_plan.h"
#include "models/shared_model.h"

// The layers of models/fused_step.cpp: fused_dense.cpp, fused_images.cpp and fused_dropout.cpp, a family each.
namespace hogpen::detail {

/// A trainable parameter in shared memory, and a worker's own gradient of it.
///
/// Sharing: a view.
struct FusedParameter {
  float* values = nullptr;
  float* gradient = nullptr;
  std::size_t numel = 0;
};

/// The parameters of a model.
///
/// Sharing: one object a worker. Owns: their gradients.
class FusedParameters {
 public:
  explicit FusedParameters(const SharedModel& model);

  /// The layer's weight, or its bias; null if it has none.
  [[nodiscard]] FusedParameter weight(const FusedLayerPlan& layer) const { return of(layer, 0); }
  [[nodiscard]] FusedParameter bias(const FusedLayerPlan& layer) const { return of(layer, 1); }
  [[nodiscard]] const std::vector<at::Tensor>& gradients() const noexcept { return gradients_; }

 private:
  [[nodiscard]] FusedParameter of(const FusedLayerPlan& layer, std::size_t i) const;

  std::span<const at::Tensor> values_;
  std::vector<at::Tensor> gradients_;
};

/// A batch's way through a layer: input and output of all its samples, unchanged until the backward pass is done.
struct FusedPass {
  const float* input = nullptr;
  float* output = nullptr;
  std::size_t rows = 0;
};

/// A layer: what it computes forward, and backward from the gradient of its output. Each pass ends before the next
/// begins.
///
/// Sharing: one object a worker; what `parameters` points to is shared. Owns: what its backward pass must remember.
class FusedLayer {
 public:
  explicit FusedLayer(const SampleShape& output, std::vector<FusedParameter> parameters = {})
      : output_(output), parameters_(std::move(parameters)) {}
  virtual ~FusedLayer() = default;

  [[nodiscard]] const SampleShape& output() const noexcept { return output_; }
  [[nodiscard]] bool has_parameters() const noexcept { return !parameters_.empty(); }

  virtual void forward(const FusedPass& pass) = 0;
  /// The gradient of the input, from that of the output: written over it, or to `spare`. Returns where.
  virtual float* backward(const FusedPass& pass, float* gradient, float* spare) = 0;
  /// Writes the gradients of the parameters.
  virtual void differentiate(const FusedPass& /*pass*/, const float* /*gradient*/) {}
  /// A step of plain SGD on the shared parameters.
  virtual void update(const FusedPass& pass, const float* gradient, double lr);

 protected:
  [[nodiscard]] const FusedParameter& parameter(std::size_t i) const { return parameters_[i]; }

 private:
  SampleShape output_;
  std::vector<FusedParameter> parameters_;
};

[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_linear(const FusedLayerPlan& plan,
                                                            const FusedParameters& parameters);
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_activation(const FusedLayerPlan& plan);
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_convolution(const FusedLayerPlan& plan,
                                                                 const FusedParameters& parameters);
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_max_pool(const FusedLayerPlan& plan, std::size_t batch_size);
/// Its masks follow from LibTorch's generator of random numbers, which gives a seed when the layer is made.
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_dropout(const FusedLayerPlan& plan, std::size_t batch_size);
/// Such a seed.
[[nodiscard]] std::uint64_t draw_seed();

}  // namespace hogpen::detail
