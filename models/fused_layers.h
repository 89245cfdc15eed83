#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/dense.h"
#include "models/layer_spec.h"
#include "models/shared_model.h"

// The layers of models/fused_step.cpp: fused_dense.cpp, fused_images.cpp and fused_dropout.cpp, a family each.
namespace hogpen::detail {

/// What a sample is between two layers: an image, or, once it is flat, a row of features.
///
/// Sharing: a value.
struct SampleShape {
  std::size_t channels = 0;
  std::size_t height = 1;
  std::size_t width = 1;
  bool is_image = false;

  [[nodiscard]] std::size_t numel() const noexcept { return channels * height * width; }
};

/// A trainable parameter in shared memory, and a worker's own gradient of it.
///
/// Sharing: a view.
struct FusedParameter {
  float* values = nullptr;
  float* gradient = nullptr;
  std::size_t numel = 0;
};

/// The parameters of a model, handed out one after the other.
///
/// Sharing: one object a worker. Owns: their gradients.
class FusedParameters {
 public:
  explicit FusedParameters(SharedModel& model);

  /// The next one; null if it has another shape, as the successor of a frozen one, which is not among them, mostly has.
  [[nodiscard]] FusedParameter take(c10::IntArrayRef shape);
  [[nodiscard]] bool are_all_taken() const noexcept { return next_ == values_.size(); }
  [[nodiscard]] const std::vector<at::Tensor>& gradients() const noexcept { return gradients_; }

 private:
  std::span<const at::Tensor> values_;
  std::vector<at::Tensor> gradients_;
  std::size_t next_ = 0;
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

// Each returns null for a layer that cannot take such samples, or whose parameters are not all there.
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_linear(const LayerSpec& spec, const SampleShape& input,
                                                            FusedParameters& parameters);
/// None for a layer that is no activation.
[[nodiscard]] std::optional<kernels::Activation> activation_of(LayerSpec::Kind kind) noexcept;
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_activation(const LayerSpec& spec, const SampleShape& input);
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_convolution(const LayerSpec& spec, const SampleShape& input,
                                                                 FusedParameters& parameters);
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_max_pool(const LayerSpec& spec, const SampleShape& input,
                                                              std::size_t batch_size);
/// Its masks follow from LibTorch's generator of random numbers, which gives a seed when the layer is made.
[[nodiscard]] std::unique_ptr<FusedLayer> make_fused_dropout(const LayerSpec& spec, const SampleShape& input,
                                                             std::size_t batch_size);

}  // namespace hogpen::detail
