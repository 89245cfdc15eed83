#include <ATen/ops/empty.h>

#include "kernels/convolution.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

using kernels::Windows;

class FusedConvolution final : public FusedLayer {
 public:
  FusedConvolution(const FusedLayerPlan& plan, const FusedParameters& parameters)
      : FusedLayer(plan.output, {parameters.weight(plan), parameters.bias(plan)}),
        windows_(plan.windows),
        out_(plan.output.channels),
        scratch_(at::empty({static_cast<std::int64_t>(kernels::convolution_scratch(windows_, out_))}, at::kFloat)) {}

  void forward(const FusedPass& pass) override {
    kernels::convolution_forward(windows_, pass.input, weight().values, bias().values, pass.output, pass.rows, out_,
                                 scratch());
  }
  float* backward(const FusedPass& pass, float* gradient, float* spare) override {
    kernels::convolution_backward_input(windows_, gradient, weight().values, spare, pass.rows, out_, scratch());
    return spare;
  }
  void differentiate(const FusedPass& pass, const float* gradient) override {
    kernels::convolution_backward_weight(windows_, gradient, pass.input, weight().gradient, bias().gradient, pass.rows,
                                         out_, scratch());
  }

 private:
  [[nodiscard]] const FusedParameter& weight() const { return parameter(0); }
  [[nodiscard]] const FusedParameter& bias() const { return parameter(1); }
  [[nodiscard]] float* scratch() const { return scratch_.mutable_data_ptr<float>(); }

  Windows windows_;
  std::size_t out_;
  at::Tensor scratch_;
};

class FusedMaxPool final : public FusedLayer {
 public:
  FusedMaxPool(const FusedLayerPlan& plan, std::size_t batch_size)
      : FusedLayer(plan.output),
        windows_(plan.windows),
        places_(at::empty({static_cast<std::int64_t>(batch_size * output().numel())}, at::kInt)) {}

  void forward(const FusedPass& pass) override {
    kernels::max_pool_forward(windows_, pass.input, pass.output, places_.mutable_data_ptr<std::int32_t>(), pass.rows);
  }
  float* backward(const FusedPass& pass, float* gradient, float* spare) override {
    kernels::max_pool_backward(windows_, gradient, places_.const_data_ptr<std::int32_t>(), spare, pass.rows);
    return spare;
  }

 private:
  Windows windows_;
  at::Tensor places_;
};

}  // namespace

std::unique_ptr<FusedLayer> make_fused_convolution(const FusedLayerPlan& plan, const FusedParameters& parameters) {
  return std::make_unique<FusedConvolution>(plan, parameters);
}

std::unique_ptr<FusedLayer> make_fused_max_pool(const FusedLayerPlan& plan, std::size_t batch_size) {
  return std::make_unique<FusedMaxPool>(plan, batch_size);
}

}  // namespace hogpen::detail
