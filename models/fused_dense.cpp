#include "kernels/dense.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

class FusedLinear final : public FusedLayer {
 public:
  FusedLinear(const FusedLayerPlan& plan, const FusedParameters& parameters)
      : FusedLayer(plan.output, {parameters.weight(plan), parameters.bias(plan)}),
        in_(plan.input.numel()),
        out_(plan.output.numel()) {}

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

std::unique_ptr<FusedLayer> make_fused_linear(const FusedLayerPlan& plan, const FusedParameters& parameters) {
  return std::make_unique<FusedLinear>(plan, parameters);
}

std::unique_ptr<FusedLayer> make_fused_activation(const FusedLayerPlan& plan) {
  return std::make_unique<FusedActivation>(activation_of(plan.kind).value(), plan.output);
}

}  // namespace hogpen::detail
