#include "kernels/dense.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

class FusedLinear final : public FusedLayer {
 public:
  FusedLinear(std::size_t in, std::size_t out, const FusedParameter& weight, const FusedParameter& bias)
      : FusedLayer({.channels = out}, {weight, bias}), in_(in), out_(out) {}

  void forward(const FusedPass& pass) override {
    kernels::linear_forward(pass.input, weight().values, bias().values, pass.output, pass.rows, in_, out_);
  }
  float* backward(const FusedPass& pass, float* gradient, float* spare) override {
    kernels::linear_backward_input(gradient, weight().values, spare, pass.rows, in_, out_);
    return spare;
  }
  void differentiate(const FusedPass& pass, const float* gradient) override {
    kernels::linear_backward_weight(gradient, pass.input, weight().gradient, bias().gradient, pass.rows, in_, out_);
  }
  void update(const FusedPass& pass, const float* gradient, double lr) override {
    kernels::linear_update(gradient, pass.input, lr, weight().values, bias().values, pass.rows, in_, out_);
  }

 private:
  [[nodiscard]] const FusedParameter& weight() const { return parameter(0); }
  [[nodiscard]] const FusedParameter& bias() const { return parameter(1); }

  std::size_t in_;
  std::size_t out_;
};

class FusedActivation final : public FusedLayer {
 public:
  FusedActivation(kernels::Activation activation, const SampleShape& shape)
      : FusedLayer(shape), activation_(activation) {}

  void forward(const FusedPass& pass) override {
    kernels::activation_forward(activation_, pass.input, pass.output, pass.rows * output().numel());
  }
  float* backward(const FusedPass& pass, float* gradient, float* /*spare*/) override {
    kernels::activation_backward(activation_, pass.input, pass.output, gradient, pass.rows * output().numel());
    return gradient;
  }

 private:
  kernels::Activation activation_;
};

}  // namespace

std::optional<kernels::Activation> activation_of(LayerSpec::Kind kind) noexcept {
  switch (kind) {
    case LayerSpec::Kind::relu:
      return kernels::Activation::relu;
    case LayerSpec::Kind::tanh:
      return kernels::Activation::tanh;
    case LayerSpec::Kind::sigmoid:
      return kernels::Activation::sigmoid;
    case LayerSpec::Kind::gelu:
      return kernels::Activation::gelu;
    default:
      return {};
  }
}

std::unique_ptr<FusedLayer> make_fused_linear(const LayerSpec& spec, const SampleShape& input,
                                              FusedParameters& parameters) {
  const std::int64_t in = spec.integer("in");
  const std::int64_t out = spec.integer("out");
  if (input.is_image || input.numel() != static_cast<std::size_t>(in)) return nullptr;
  const bool has_bias = spec.integer("bias") != 0;
  const FusedParameter weight = parameters.take({out, in});
  const FusedParameter bias = has_bias ? parameters.take({out}) : FusedParameter();
  if (weight.values == nullptr || (has_bias && bias.values == nullptr)) return nullptr;
  return std::make_unique<FusedLinear>(input.numel(), static_cast<std::size_t>(out), weight, bias);
}

std::unique_ptr<FusedLayer> make_fused_activation(const LayerSpec& spec, const SampleShape& input) {
  return std::make_unique<FusedActivation>(activation_of(spec.kind).value(), input);
}

}  // namespace hogpen::detail
