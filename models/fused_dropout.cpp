#include <ATen/ops/empty.h>

#include "kernels/dropout.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

/// Drops numbers or, of images, whole channels.
class FusedDropout final : public FusedLayer {
 public:
  FusedDropout(const FusedLayerPlan& plan, std::size_t batch_size)
      : FusedLayer(plan.output),
        rule_(plan.p),
        group_(plan.group),
        mask_(at::empty({static_cast<std::int64_t>(batch_size * plan.output.numel() / plan.group)}, at::kFloat)),
        random_(draw_seed()) {}

  void forward(const FusedPass& pass) override {
    kernels::draw_mask(rule_, mask_.mutable_data_ptr<float>(), groups(pass), random_);
    kernels::apply_mask(mask_.const_data_ptr<float>(), pass.input, pass.output, groups(pass), group_);
  }
  float* backward(const FusedPass& pass, float* gradient, float* /*spare*/) override {
    kernels::apply_mask(mask_.const_data_ptr<float>(), gradient, gradient, groups(pass), group_);
    return gradient;
  }

 private:
  [[nodiscard]] std::size_t groups(const FusedPass& pass) const { return pass.rows * output().numel() / group_; }

  kernels::DropoutRule rule_;
  std::size_t group_;
  at::Tensor mask_;
  std::uint64_t random_;
};

}  // namespace

std::unique_ptr<FusedLayer> make_fused_dropout(const FusedLayerPlan& plan, std::size_t batch_size) {
  return std::make_unique<FusedDropout>(plan, batch_size);
}

std::uint64_t draw_seed() {
  return static_cast<std::uint64_t>(at::empty({1}, at::kLong).random_().item<std::int64_t>());
}

}  // namespace hogpen::detail
