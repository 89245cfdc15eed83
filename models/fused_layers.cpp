#include "models/fused_layers.h"

#include <ATen/ops/empty.h>

#include "kernels/update.h"

namespace hogpen::detail {

FusedParameters::FusedParameters(SharedModel& model) : values_(model.parameters()) {
  for (const at::Tensor& parameter : values_) gradients_.push_back(at::empty(parameter.sizes(), at::kFloat));
}

FusedParameter FusedParameters::take(c10::IntArrayRef shape) {
  if (next_ == values_.size() || values_[next_].sizes() != shape) return {};
  const std::size_t i = next_++;
  return {values_[i].mutable_data_ptr<float>(), gradients_[i].mutable_data_ptr<float>(),
          static_cast<std::size_t>(values_[i].numel())};
}

void FusedLayer::update(const FusedPass& pass, const float* gradient, double lr) {
  differentiate(pass, gradient);
  for (const FusedParameter& p : parameters_) {
    if (p.values != nullptr) kernels::sgd(kernels::Write::plain, p.values, p.gradient, nullptr, p.numel, {.lr = lr});
  }
}

}  // namespace hogpen::detail
