#include "models/fused_gpu_stage.h"

#include <algorithm>

#include "runtime/memory/cuda_buffer.h"

namespace hogpen::detail {
namespace {

using kernels::Activated;
using kernels::Activation;
using kernels::LayerInput;
using Kind = LayerSpec::Kind;

std::size_t largest(std::int64_t batch_size) {
  return static_cast<std::size_t>(batch_size);
}

/// In a whole batch.
std::int64_t outputs(const FusedLayerPlan& layer, std::int64_t batch_size) {
  return batch_size * static_cast<std::int64_t>(layer.output.numel());
}

/// Passes on what it gets.
FusedLayerPlan no_dropout(const SampleShape& shape) {
  return {.kind = Kind::dropout, .input = shape, .output = shape};
}

template <class T>
T* data_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

}  // namespace

std::vector<GpuStagePlan> plan_gpu_stages(std::span<const FusedLayerPlan> layers) {
  std::vector<GpuStagePlan> stages;
  for (const FusedLayerPlan& layer : layers) {
    const auto activation = activation_of(layer.kind);
    if (!activation) {
      stages.push_back({.layer = layer});
      continue;
    }
    if (stages.empty() || stages.back().activation != Activation::identity) {
      stages.push_back({.layer = no_dropout(layer.input)});
    }
    stages.back().activation = *activation;
  }
  if (!stages.empty() && stages.back().activation != Activation::identity) {
    stages.push_back({.layer = no_dropout(stages.back().layer.output)});
  }
  return stages;
}

GpuStage::GpuStage(const GpuStagePlan& plan, c10::Device gpu, std::int64_t batch_size, const Parameter& weight,
                   const Parameter& bias, const Random& random)
    : plan_(plan), weight_(weight), bias_(bias), random_(random) {
  const std::int64_t numel = outputs(layer(), batch_size);
  output_ = tensor_on_gpu(gpu.index(), c10::ScalarType::Float, numel);
  if (plan.activation == Activation::gelu) {
    before_activation_ = tensor_on_gpu(gpu.index(), c10::ScalarType::Float, numel);
  }
  if (layer().kind == Kind::max_pool2d) places_ = tensor_on_gpu(gpu.index(), c10::ScalarType::Int, numel);
  if (layer().kind == Kind::conv2d) {
    const kernels::ConvolutionShape shape = convolution(largest(batch_size));
    const std::size_t sums = kernels::convolution_parts(shape) * shape.out * (shape.windows.taps() + 1);
    part_sums_ = tensor_on_gpu(gpu.index(), c10::ScalarType::Float, static_cast<std::int64_t>(sums));
  }
}

std::size_t GpuStage::random_numbers(const GpuStagePlan& plan, std::int64_t batch_size) {
  if (plan.layer.p == 0.0) return 0;
  return kernels::numbers_of_mask(largest(batch_size) * plan.layer.output.numel() / plan.layer.group);
}

Activated GpuStage::activated() const {
  return {.activation = plan_.activation, .z = data_of<float>(before_activation_), .y = output()};
}

kernels::DenseShape GpuStage::dense(std::size_t rows) const {
  return {.rows = rows, .in = layer().input.numel(), .out = layer().output.numel()};
}

kernels::ConvolutionShape GpuStage::convolution(std::size_t rows) const {
  return {.windows = layer().windows, .n = rows, .out = layer().output.channels};
}

kernels::DropoutMask GpuStage::mask() const {
  return {.rule = kernels::DropoutRule(layer().p),
          .state = random_.state,
          .skipped = random_.skipped,
          .group = layer().group};
}

void GpuStage::forward(const LayerInput& input, std::size_t rows, CUstream_st* stream) const {
  switch (layer().kind) {
    case Kind::linear:
      return launch(kernels::LinearForward{input, weight_.values, bias_.values, activated(), dense(rows)}, stream);
    case Kind::conv2d:
      return launch(kernels::ConvolutionForward{input, weight_.values, bias_.values, activated(), convolution(rows)},
                    stream);
    case Kind::max_pool2d:
      return launch(kernels::MaxPoolForward{input, activated(), data_of<std::int32_t>(places_), layer().windows, rows},
                    stream);
    default:
      return launch(kernels::DropoutForward{input, activated(), mask(), rows, layer().output.numel()}, stream);
  }
}

void GpuStage::backward(const float* gradient, const GpuStage& before, float* before_gradient, std::size_t rows,
                        CUstream_st* stream) const {
  const Activated x = before.activated();
  switch (layer().kind) {
    case Kind::linear:
      return launch(kernels::LinearBackwardInput{gradient, weight_.values, x, before_gradient, dense(rows)}, stream);
    case Kind::conv2d:
      return launch(kernels::ConvolutionBackwardInput{gradient, weight_.values, x, before_gradient, convolution(rows)},
                    stream);
    case Kind::max_pool2d:
      return launch(
          kernels::MaxPoolBackward{gradient, data_of<std::int32_t>(places_), x, before_gradient, layer().windows, rows},
          stream);
    default:
      return launch(kernels::DropoutBackward{gradient, mask(), x, before_gradient, rows * layer().output.numel()},
                    stream);
  }
}

void GpuStage::differentiate(const float* gradient, const LayerInput& input, std::size_t rows,
                             CUstream_st* stream) const {
  if (layer().kind == Kind::linear) {
    launch(kernels::LinearBackwardWeight{gradient, input, weight_.gradient, bias_.gradient, dense(rows)}, stream);
  }
  if (layer().kind != Kind::conv2d) return;
  const kernels::ConvolutionShape shape = convolution(rows);
  const std::size_t parts = kernels::convolution_parts(shape);
  auto* const sums = data_of<float>(part_sums_);
  launch(kernels::ConvolutionBackwardWeight{gradient, input, sums, parts, shape}, stream);
  launch(kernels::AddParts{sums, parts, weight_.gradient, bias_.gradient, shape.out, shape.windows.taps()}, stream);
}

}  // namespace hogpen::detail
