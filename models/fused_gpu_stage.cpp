#include "models/fused_gpu_stage.h"

#include <algorithm>

#include "runtime/memory/cuda_buffer.h"

namespace hogpen::detail {
namespace {

using kernels::Activated;
using kernels::Activation;
using kernels::LayerInput;
using Kind = LayerSpec::Kind;

/// Passes on what it gets.
FusedLayerPlan no_dropout(const SampleShape& shape) {
  return {.kind = Kind::dropout, .input = shape, .output = shape};
}

kernels::ConvolutionShape convolution_of(const FusedLayerPlan& layer, std::size_t rows) {
  return {.windows = layer.windows, .n = rows, .out = layer.output.channels};
}

/// What a stage has in the GPU's memory: how many numbers, each of four bytes.
struct Numbers {
  Numbers(const GpuStagePlan& plan, std::int64_t batch_size)
      : output(batch_size * static_cast<std::int64_t>(plan.layer.output.numel())),
        before_activation(plan.activation == Activation::gelu ? output : 0),
        places(plan.layer.kind == Kind::max_pool2d ? output : 0) {
    if (plan.layer.kind != Kind::conv2d) return;
    const auto shape = convolution_of(plan.layer, static_cast<std::size_t>(batch_size));
    const std::size_t sums = kernels::convolution_parts(shape) * shape.out * (shape.windows.taps() + 1);
    part_sums = static_cast<std::int64_t>(sums);
  }
  std::int64_t output;
  std::int64_t before_activation;
  std::int64_t places;
  std::int64_t part_sums = 0;
};

at::Tensor make(c10::Device gpu, c10::ScalarType dtype, std::int64_t numel) {
  return numel == 0 ? at::Tensor() : tensor_on_gpu(gpu.index(), dtype, numel);
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
  const Numbers numbers(plan, batch_size);
  output_ = make(gpu, c10::ScalarType::Float, numbers.output);
  before_activation_ = make(gpu, c10::ScalarType::Float, numbers.before_activation);
  places_ = make(gpu, c10::ScalarType::Int, numbers.places);
  part_sums_ = make(gpu, c10::ScalarType::Float, numbers.part_sums);
}

std::size_t GpuStage::needed_bytes(const GpuStagePlan& plan, std::int64_t batch_size) {
  const Numbers numbers(plan, batch_size);
  return 4 * static_cast<std::size_t>(numbers.output + numbers.before_activation + numbers.places + numbers.part_sums);
}

std::size_t GpuStage::random_numbers(const GpuStagePlan& plan, std::int64_t batch_size) {
  if (plan.layer.p == 0.0) return 0;
  return kernels::numbers_of_mask(static_cast<std::size_t>(batch_size) * plan.layer.output.numel() / plan.layer.group);
}

Activated GpuStage::activated() const {
  return {.activation = plan_.activation, .z = data_of<float>(before_activation_), .y = output()};
}

kernels::DenseShape GpuStage::dense(std::size_t rows) const {
  return {.rows = rows, .in = layer().input.numel(), .out = layer().output.numel()};
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
      return launch(
          kernels::ConvolutionForward{input, weight_.values, bias_.values, activated(), convolution_of(layer(), rows)},
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
      return launch(kernels::ConvolutionBackwardInput{gradient, weight_.values, x, before_gradient,
                                                      convolution_of(layer(), rows)},
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
  const kernels::ConvolutionShape shape = convolution_of(layer(), rows);
  const std::size_t parts = kernels::convolution_parts(shape);
  auto* const sums = data_of<float>(part_sums_);
  launch(kernels::ConvolutionBackwardWeight{gradient, input, sums, parts, shape}, stream);
  launch(kernels::AddParts{sums, parts, weight_.gradient, bias_.gradient, shape.out, shape.windows.taps()}, stream);
}

}  // namespace hogpen::detail
