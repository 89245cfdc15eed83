#include "models/fused_layers.h"

#include <ATen/ops/empty.h>

#include "kernels/update.h"

namespace hogpen::detail {

FusedParameters::FusedParameters(const SharedModel& model) : values_(model.parameters()) {
  for (const at::Tensor& parameter : values_) gradients_.push_back(at::empty(parameter.sizes(), at::kFloat));
}

FusedParameter FusedParameters::of(const FusedLayerPlan& layer, std::size_t i) const {
  if (i >= layer.parameters) return {};
  const at::Tensor& values = values_[layer.first_parameter + i];
  return {values.mutable_data_ptr<float>(), gradients_[layer.first_parameter + i].mutable_data_ptr<float>(),
          static_cast<std::size_t>(values.numel())};
}

void FusedLayer::update(const FusedPass& pass, const float* gradient, double lr) {
  differentiate(pass, gradient);
  for (const FusedParameter& p : parameters_) {
    if (p.values != nullptr) kernels::sgd(kernels::Write::plain, p.values, p.gradient, nullptr, p.numel, {.lr = lr});
  }
}

}  // namespace hogpen::detail
