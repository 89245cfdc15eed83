#include <ATen/ops/empty.h>

#include "kernels/dropout.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

std::uint64_t random_seed() {
  return static_cast<std::uint64_t>(at::empty({1}, at::kLong).random_().item<std::int64_t>());
}

/// Drops numbers or, of images, whole channels.
class FusedDropout final : public FusedLayer {
 public:
  FusedDropout(double p, const SampleShape& shape, std::size_t group, std::size_t batch_size)
      : FusedLayer(shape),
        p_(p),
        group_(group),
        mask_(at::empty({static_cast<std::int64_t>(batch_size * shape.numel() / group)}, at::kFloat)),
        random_(random_seed()) {}

  void forward(const FusedPass& pass) override {
    kernels::draw_mask(p_, mask_.mutable_data_ptr<float>(), groups(pass), random_);
    kernels::apply_mask(mask_.const_data_ptr<float>(), pass.input, pass.output, groups(pass), group_);
  }
  float* backward(const FusedPass& pass, float* gradient, float* /*spare*/) override {
    kernels::apply_mask(mask_.const_data_ptr<float>(), gradient, gradient, groups(pass), group_);
    return gradient;
  }

 private:
  [[nodiscard]] std::size_t groups(const FusedPass& pass) const { return pass.rows * output().numel() / group_; }

  double p_;
  std::size_t group_;
  at::Tensor mask_;
  std::uint64_t random_;
};

}  // namespace

std::unique_ptr<FusedLayer> make_fused_dropout(const LayerSpec& spec, const SampleShape& input,
                                               std::size_t batch_size) {
  const bool drops_channels = spec.kind == LayerSpec::Kind::dropout2d;
  if (drops_channels && !input.is_image) return nullptr;
  const std::size_t group = drops_channels ? input.height * input.width : 1;
  return std::make_unique<FusedDropout>(spec.number("p"), input, group, batch_size);
}

}  // namespace hogpen::detail
