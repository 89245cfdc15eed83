#include <optional>
#include <utility>

#include "kernels/dense_cuda.h"
#include "models/fused_layers.h"
#include "models/gpu_step.h"
#include "runtime/core/error.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

using kernels::Activated;
using kernels::Activation;
using kernels::DenseInput;
using kernels::DenseShape;

/// A linear layer, and the activation behind it.
struct DenseLayer {
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool has_bias = false;
  Activation activation = Activation::identity;
};
using DenseLayers = std::vector<DenseLayer>;

/// The chain of layers that the text describes; none where it is something else.
DenseLayers dense_layers(std::span<const LayerSpec> specs) {
  DenseLayers layers;
  for (const LayerSpec& spec : specs) {
    const std::optional<Activation> activation = detail::activation_of(spec.kind);
    if (spec.kind == LayerSpec::Kind::linear) {
      layers.push_back({.in = spec.integer("in"), .out = spec.integer("out"), .has_bias = spec.integer("bias") != 0});
    } else if (activation && !layers.empty() && layers.back().activation == Activation::identity) {
      layers.back().activation = *activation;
    } else if (spec.kind == LayerSpec::Kind::log_softmax && &spec == &specs.back()) {
      // Cross-entropy takes logits, and is the same for their logarithmic softmax.
    } else if (spec.kind != LayerSpec::Kind::flatten) {
      return {};
    }
  }
  const bool ends_with_logits = !layers.empty() && layers.back().activation == Activation::identity;
  return ends_with_logits ? layers : DenseLayers();
}

/// Whether the trainable parameters are those of the layers, in their order.
bool are_all_there(const DenseLayers& layers, std::span<const at::Tensor> parameters) {
  std::size_t next = 0;
  const auto is_next = [&](c10::IntArrayRef shape) {
    return next < parameters.size() && parameters[next++].sizes() == shape;
  };
  for (const DenseLayer& layer : layers) {
    if (!is_next({layer.out, layer.in}) || (layer.has_bias && !is_next({layer.out}))) return false;
  }
  return next == parameters.size();
}

float* data_of(const at::Tensor& numbers) {
  return static_cast<float*>(numbers.mutable_data_ptr());
}

class FusedGpuStep final : public GpuStep {
 public:
  FusedGpuStep(const DenseLayers& layers, const SharedModel& model, const BatchBuffer& buffer, std::int64_t batch_size)
      : samples_on_gpu_(buffer.samples_on_gpu()),
        gpu_(samples_on_gpu_.device()),
        flat_gradient_(numbers(model.flat().numel())),
        loss_(numbers(1)) {
    const Dataset& data = buffer.data();
    const auto* const bytes = static_cast<const std::uint8_t*>(samples_on_gpu_.const_data_ptr());
    pixels_ = {.pixels = bytes, .scale = buffer.normalization().scale(), .shift = buffer.normalization().shift()};
    labels_ = bytes + data.size() * data.sample_numel();
    std::size_t parameter = 0;
    for (const DenseLayer& layer : layers) {
      const at::Tensor& weight = model.parameters()[parameter];
      const FlatSlice slice = model.slices()[parameter++];
      Stage stage = {.layer = layer,
                     .weight = data_of(weight),
                     .weight_gradient = data_of(flat_gradient_) + slice.offset,
                     .output = numbers(batch_size * layer.out),
                     .gradient = numbers(batch_size * layer.out)};
      if (layer.has_bias) {
        stage.bias = data_of(model.parameters()[parameter]);
        stage.bias_gradient = data_of(flat_gradient_) + model.slices()[parameter++].offset;
      }
      if (layer.activation == Activation::gelu) stage.before_activation = numbers(batch_size * layer.out);
      stages_.push_back(std::move(stage));
    }
    stages_.back().gradient = stages_.back().output;  // the cross-entropy makes the one the other
    for (const FlatSlice& slice : model.slices()) {
      gradients_.push_back(view_in(flat_gradient_.storage(), c10::ScalarType::Float,
                                   static_cast<std::size_t>(slice.offset) * sizeof(float), slice.numel));
    }
  }

  GpuGradients enqueue(const at::Tensor& samples) override {
    const auto rows = static_cast<std::size_t>(samples.numel());
    const auto* const numbers_of_samples = static_cast<const std::uint32_t*>(samples.const_data_ptr());
    auto* const stream = static_cast<CUstream_st*>(current_stream(gpu_));
    pixels_.samples = numbers_of_samples;
    DenseInput input = pixels_;
    for (const Stage& stage : stages_) {
      kernels::linear_forward_cuda(input, stage.weight, stage.bias, stage.activated(), stage.shape(rows), stream);
      input = {.values = data_of(stage.output)};
    }
    const Stage& last = stages_.back();
    kernels::softmax_cross_entropy_cuda(data_of(last.output), labels_, numbers_of_samples, data_of(loss_), rows,
                                        static_cast<std::size_t>(last.layer.out), stream);
    for (std::size_t i = stages_.size(); i-- > 0;) go_back(i, rows, stream);
    return {.loss = loss_, .gradients = gradients_};
  }

 private:
  struct Stage {
    DenseLayer layer;
    const float* weight = nullptr;
    const float* bias = nullptr;
    float* weight_gradient = nullptr;
    float* bias_gradient = nullptr;
    at::Tensor before_activation;  // for gelu alone
    at::Tensor output;
    at::Tensor gradient;  // of what stood before the activation

    [[nodiscard]] Activated activated() const {
      return {.activation = layer.activation,
              .z = before_activation.defined() ? data_of(before_activation) : nullptr,
              .y = data_of(output)};
    }
    [[nodiscard]] DenseShape shape(std::size_t rows) const {
      return {.rows = rows, .in = static_cast<std::size_t>(layer.in), .out = static_cast<std::size_t>(layer.out)};
    }
  };

  void go_back(std::size_t i, std::size_t rows, CUstream_st* stream) const {
    const Stage& stage = stages_[i];
    DenseInput input = pixels_;
    if (i > 0) {
      const Stage& before = stages_[i - 1];
      input = {.values = data_of(before.output)};
      kernels::linear_backward_input_cuda(data_of(stage.gradient), stage.weight, before.activated(),
                                          data_of(before.gradient), stage.shape(rows), stream);
    }
    kernels::linear_backward_weight_cuda(data_of(stage.gradient), input, stage.weight_gradient, stage.bias_gradient,
                                         stage.shape(rows), stream);
  }

  [[nodiscard]] at::Tensor numbers(std::int64_t numel) const {
    return tensor_on_gpu(gpu_.index(), c10::ScalarType::Float, numel);
  }

  at::Tensor samples_on_gpu_;
  c10::Device gpu_;
  at::Tensor flat_gradient_;           // laid out as SharedModel::flat, so that neighbours are updated as one
  std::vector<at::Tensor> gradients_;  // its parts
  at::Tensor loss_;
  DenseInput pixels_;  // with the samples of the batch
  const std::uint8_t* labels_ = nullptr;
  std::vector<Stage> stages_;
};

}  // namespace

bool can_fuse_on_gpu(const SharedModel& model, const Dataset& data) {
  const DenseLayers layers = dense_layers(layers_of(model.model()));
  return !layers.empty() && layers.front().in == data.sample_numel() && layers.back().out >= data.classes() &&
         are_all_there(layers, model.parameters());
}

std::unique_ptr<GpuStep> make_fused_gpu_step(SharedModel& model, const BatchBuffer& buffer, std::int64_t batch_size) {
  require(can_fuse_on_gpu(model, buffer.data()),
          "the fused engine takes linear layers and activations alone on a GPU: this model is another");
  return std::make_unique<FusedGpuStep>(dense_layers(layers_of(model.model())), model, buffer, batch_size);
}

}  // namespace hogpen
