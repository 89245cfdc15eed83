#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "kernels/dense.h"
#include "models/fused_layers.h"
#include "models/train_step.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

using detail::FusedLayer;
using detail::FusedLayerPlan;
using detail::FusedParameters;
using detail::FusedPass;
using Layers = std::vector<std::unique_ptr<FusedLayer>>;

std::unique_ptr<FusedLayer> make_layer(const FusedLayerPlan& plan, const FusedParameters& parameters,
                                       std::size_t batch_size) {
  switch (plan.kind) {
    case LayerSpec::Kind::linear:
      return make_fused_linear(plan, parameters);
    case LayerSpec::Kind::conv2d:
      return make_fused_convolution(plan, parameters);
    case LayerSpec::Kind::max_pool2d:
      return make_fused_max_pool(plan, batch_size);
    case LayerSpec::Kind::dropout:
    case LayerSpec::Kind::dropout2d:
      return make_fused_dropout(plan, batch_size);
    default:
      return make_fused_activation(plan);
  }
}

at::Tensor numbers(std::size_t rows, std::size_t columns) {
  return at::empty({static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)}, at::kFloat);
}

class FusedStep final : public TrainStep {
 public:
  FusedStep(Layers layers, const FusedParameters& parameters, BatchBuffer buffer, std::size_t batch_size)
      : layers_(std::move(layers)), passes_(layers_.size()), buffer_(std::move(buffer)) {
    gradients_ = parameters.gradients();
    std::size_t widest = 0;
    for (const auto& layer : layers_) {
      outputs_.push_back(numbers(batch_size, layer->output().numel()));
      widest = std::max(widest, layer->output().numel());
    }
    for (at::Tensor& gradient : output_gradients_) gradient = numbers(batch_size, widest);
    const auto first = std::find_if(layers_.begin(), layers_.end(), [](const auto& l) { return l->has_parameters(); });
    first_to_train_ = static_cast<std::size_t>(first - layers_.begin());
  }

  double forward(std::span<const std::uint32_t> samples) override {
    const BatchBuffer::Batch batch = buffer_.fill(samples);
    const std::size_t rows = samples.size();
    const float* values = batch.inputs.const_data_ptr<float>();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      passes_[i] = {.input = values, .output = outputs_[i].mutable_data_ptr<float>(), .rows = rows};
      layers_[i]->forward(passes_[i]);
      values = passes_[i].output;
    }
    const std::size_t classes = layers_.back()->output().numel();
    auto* const gradient = output_gradients_[0].mutable_data_ptr<float>();
    std::copy_n(values, rows * classes, gradient);
    return kernels::softmax_cross_entropy(gradient, {batch.labels.const_data_ptr<std::int64_t>(), rows}, classes);
  }

  void backward() override {
    go_back(
        [](FusedLayer& layer, const FusedPass& pass, const float* gradient) { layer.differentiate(pass, gradient); });
  }

  bool update(double lr) override {
    go_back(
        [lr](FusedLayer& layer, const FusedPass& pass, const float* gradient) { layer.update(pass, gradient, lr); });
    return true;
  }

 private:
  /// From the last layer to the first that has parameters; `take` gets each layer and the gradient of its output, when
  /// nobody needs the layer's parameters as they were any more.
  template <class Take>
  void go_back(const Take& take) {
    auto* gradient = output_gradients_[0].mutable_data_ptr<float>();  // softmax_cross_entropy has left it there
    auto* spare = output_gradients_[1].mutable_data_ptr<float>();
    for (std::size_t i = layers_.size(); i-- > first_to_train_;) {
      FusedLayer& layer = *layers_[i];
      float* const of_input = i > first_to_train_ ? layer.backward(passes_[i], gradient, spare) : gradient;
      if (layer.has_parameters()) take(layer, passes_[i], gradient);
      if (of_input != gradient) spare = std::exchange(gradient, of_input);
    }
  }

  Layers layers_;
  std::vector<FusedPass> passes_;
  std::vector<at::Tensor> outputs_;
  at::Tensor output_gradients_[2];  // of a layer, and of the one before it
  std::size_t first_to_train_ = 0;
  BatchBuffer buffer_;
};

}  // namespace

bool can_fuse(const SharedModel& model, const Dataset& data) {
  return !detail::plan_fused_layers(model, data).empty();
}

std::unique_ptr<TrainStep> make_fused_step(SharedModel& model, BatchBuffer buffer, std::int64_t batch_size) {
  const auto size = static_cast<std::size_t>(batch_size);
  const FusedParameters parameters(model);
  Layers layers;
  for (const FusedLayerPlan& plan : detail::plan_fused_layers(model, buffer.data())) {
    layers.push_back(make_layer(plan, parameters, size));
  }
  require(!layers.empty(), "the fused engine does not take this model: see can_fuse");
  return std::make_unique<FusedStep>(std::move(layers), parameters, std::move(buffer), size);
}

}  // namespace hogpen
