#include <ATen/ops/empty.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/dense.h"
#include "models/train_step.h"

namespace hogpen {
namespace {

using Kind = LayerSpec::Kind;

struct FusedLayer {
  Kind kind = Kind::linear;
  std::size_t in = 0;
  std::size_t out = 0;
  // Of Linear: the shared parameters, and where they stand among SharedModel::parameters().
  float* weight = nullptr;
  float* bias = nullptr;
  std::size_t parameter = 0;
  // Of the batch, all [batch_size, out].
  at::Tensor output;
  const float* input_of_batch = nullptr;
  float* output_of_batch = nullptr;
};

kernels::Activation activation_of(Kind kind) {
  switch (kind) {
    case Kind::tanh:
      return kernels::Activation::tanh;
    case Kind::sigmoid:
      return kernels::Activation::sigmoid;
    case Kind::gelu:
      return kernels::Activation::gelu;
    default:
      return kernels::Activation::relu;
  }
}

/// The shared parameters, taken one after the other: null for one of another shape, which a frozen one leaves in the
/// place of its successor.
class Parameters {
 public:
  explicit Parameters(SharedModel& model) : all_(model.parameters()) {}
  float* take(c10::IntArrayRef shape) {
    if (next_ == all_.size() || all_[next_].sizes() != shape) return nullptr;
    return all_[next_++].mutable_data_ptr<float>();
  }
  [[nodiscard]] std::size_t taken() const noexcept { return next_; }
  [[nodiscard]] bool are_all_taken() const noexcept { return next_ == all_.size(); }

 private:
  std::span<const at::Tensor> all_;
  std::size_t next_ = 0;
};

std::optional<FusedLayer> linear_layer(const LayerSpec& spec, Parameters& parameters) {
  const std::int64_t in = spec.integer("in");
  const std::int64_t out = spec.integer("out");
  const bool has_bias = spec.integer("bias") != 0;
  FusedLayer layer{.kind = Kind::linear,
                   .in = static_cast<std::size_t>(in),
                   .out = static_cast<std::size_t>(out),
                   .parameter = parameters.taken()};
  layer.weight = parameters.take({out, in});
  layer.bias = has_bias ? parameters.take({out}) : nullptr;
  if (layer.weight == nullptr || (has_bias && layer.bias == nullptr)) return {};
  return layer;
}

/// The layers that compute something; nothing for a model with others than `make_fused_step` takes.
std::optional<std::vector<FusedLayer>> plan_layers(SharedModel& model) {
  std::vector<FusedLayer> layers;
  Parameters parameters(model);
  const std::span<const LayerSpec> specs = layers_of(model.model());
  for (const LayerSpec& spec : specs) {
    switch (spec.kind) {
      case Kind::flatten:
        if (!layers.empty()) return {};
        break;  // The samples lie there flat.
      case Kind::log_softmax:
        if (&spec != &specs.back()) return {};
        break;  // Cross-entropy takes logits, and is the same for their logarithmic softmax.
      case Kind::linear: {
        std::optional<FusedLayer> layer = linear_layer(spec, parameters);
        if (!layer) return {};
        layers.push_back(std::move(*layer));
        break;
      }
      case Kind::relu:
      case Kind::tanh:
      case Kind::sigmoid:
      case Kind::gelu:
        if (layers.empty()) return {};
        layers.push_back({.kind = spec.kind, .in = layers.back().out, .out = layers.back().out});
        break;
      default:
        return {};
    }
  }
  if (layers.empty() || layers.back().kind != Kind::linear || !parameters.are_all_taken()) return {};
  return layers;
}

class FusedStep final : public TrainStep {
 public:
  FusedStep(std::vector<FusedLayer> layers, SharedModel& model, BatchBuffer buffer, std::int64_t batch_size)
      : layers_(std::move(layers)), buffer_(std::move(buffer)) {
    std::size_t widest = 0;
    for (FusedLayer& layer : layers_) {
      layer.output = at::empty({batch_size, static_cast<std::int64_t>(layer.out)}, at::kFloat);
      widest = std::max(widest, layer.in);
    }
    for (at::Tensor& gradient : input_gradients_) {
      gradient = at::empty({batch_size, static_cast<std::int64_t>(widest)}, at::kFloat);
    }
    for (const at::Tensor& parameter : model.parameters()) {
      gradients_.push_back(at::empty(parameter.sizes(), at::kFloat));
    }
  }

  double forward(std::span<const std::uint32_t> samples) override {
    const BatchBuffer::Batch batch = buffer_.fill(samples);
    rows_ = samples.size();
    const float* values = batch.inputs.const_data_ptr<float>();
    for (FusedLayer& layer : layers_) {
      layer.input_of_batch = values;
      layer.output_of_batch = layer.output.mutable_data_ptr<float>();
      if (layer.kind == Kind::linear) {
        kernels::linear_forward(values, layer.weight, layer.bias, layer.output_of_batch, rows_, layer.in, layer.out);
      } else {
        kernels::activation_forward(activation_of(layer.kind), values, layer.output_of_batch, rows_ * layer.out);
      }
      values = layer.output_of_batch;
    }
    const FusedLayer& last = layers_.back();
    return kernels::softmax_cross_entropy(last.output_of_batch, {batch.labels.const_data_ptr<std::int64_t>(), rows_},
                                          last.out);
  }

  void backward() override {
    go_back([this](const FusedLayer& layer, const float* gradient) {
      float* const of_bias = layer.bias ? gradients_[layer.parameter + 1].mutable_data_ptr<float>() : nullptr;
      kernels::linear_backward_weight(gradient, layer.input_of_batch,
                                      gradients_[layer.parameter].mutable_data_ptr<float>(), of_bias, rows_, layer.in,
                                      layer.out);
    });
  }

  bool update(double lr) override {
    go_back([this, lr](const FusedLayer& layer, const float* gradient) {
      kernels::linear_update(gradient, layer.input_of_batch, lr, layer.weight, layer.bias, rows_, layer.in, layer.out);
    });
    return true;
  }

 private:
  /// From the last layer to the first; `take` gets each Linear layer and the gradient of its output, when nobody needs
  /// the layer's parameters as they were any more.
  template <class Take>
  void go_back(const Take& take) {
    float* gradient = layers_.back().output_of_batch;  // softmax_cross_entropy has left it there
    std::size_t next = 0;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      const FusedLayer& layer = layers_[i];
      if (layer.kind != Kind::linear) {
        kernels::activation_backward(activation_of(layer.kind), layer.input_of_batch, layer.output_of_batch, gradient,
                                     rows_ * layer.out);
        continue;
      }
      float* const of_input = input_gradients_[next].mutable_data_ptr<float>();
      if (i > 0) kernels::linear_backward_input(gradient, layer.weight, of_input, rows_, layer.in, layer.out);
      take(layer, gradient);
      gradient = of_input;
      next = 1 - next;
    }
  }

  std::vector<FusedLayer> layers_;
  BatchBuffer buffer_;
  at::Tensor input_gradients_[2];  // of a layer, and of the one before it
  std::size_t rows_ = 0;
};

}  // namespace

std::unique_ptr<TrainStep> make_fused_step(SharedModel& model, BatchBuffer buffer, std::int64_t batch_size) {
  std::optional<std::vector<FusedLayer>> layers = plan_layers(model);
  if (!layers) return nullptr;
  const bool fits = static_cast<std::size_t>(buffer.data().sample_numel()) == layers->front().in &&
                    static_cast<std::size_t>(buffer.data().classes()) <= layers->back().out;
  if (!fits) return nullptr;
  return std::make_unique<FusedStep>(std::move(*layers), model, std::move(buffer), batch_size);
}

}  // namespace hogpen
