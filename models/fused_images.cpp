#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>

#include "kernels/convolution.h"
#include "models/fused_layers.h"

namespace hogpen::detail {
namespace {

using kernels::Windows;

SampleShape images_of(const Windows& windows, std::size_t channels) {
  return {.channels = channels, .height = windows.rows(), .width = windows.columns(), .is_image = true};
}

class FusedConvolution final : public FusedLayer {
 public:
  FusedConvolution(const Windows& windows, std::size_t out, const FusedParameter& weight, const FusedParameter& bias)
      : FusedLayer(images_of(windows, out), {weight, bias}),
        windows_(windows),
        out_(out),
        scratch_(at::empty({static_cast<std::int64_t>(kernels::convolution_scratch(windows, out))}, at::kFloat)) {}

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
  FusedMaxPool(const Windows& windows, std::size_t batch_size)
      : FusedLayer(images_of(windows, windows.channels)),
        windows_(windows),
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

/// The windows that a layer moves over its input; `fits` is false where there are none.
struct WindowsOver {
  WindowsOver(const LayerSpec& spec, const SampleShape& input, std::size_t stride, std::size_t padding)
      : windows{.channels = input.channels,
                .height = input.height,
                .width = input.width,
                .kernel = static_cast<std::size_t>(spec.integer("kernel")),
                .stride = stride,
                .padding = padding},
        fits(input.is_image && windows.kernel <= std::min(input.height, input.width) + 2 * padding) {}

  Windows windows;
  bool fits;
};

}  // namespace

std::unique_ptr<FusedLayer> make_fused_convolution(const LayerSpec& spec, const SampleShape& input,
                                                   FusedParameters& parameters) {
  const std::int64_t in = spec.integer("in");
  const std::int64_t out = spec.integer("out");
  const std::int64_t kernel = spec.integer("kernel");
  const WindowsOver over(spec, input, static_cast<std::size_t>(spec.integer("stride")),
                         static_cast<std::size_t>(spec.integer("padding")));
  if (!over.fits || input.channels != static_cast<std::size_t>(in)) return nullptr;
  const FusedParameter weight = parameters.take({out, in, kernel, kernel});
  const FusedParameter bias = parameters.take({out});
  if (weight.values == nullptr || bias.values == nullptr) return nullptr;
  return std::make_unique<FusedConvolution>(over.windows, static_cast<std::size_t>(out), weight, bias);
}

std::unique_ptr<FusedLayer> make_fused_max_pool(const LayerSpec& spec, const SampleShape& input,
                                                std::size_t batch_size) {
  const std::int64_t stride = spec.integer("stride");
  const WindowsOver over(spec, input, static_cast<std::size_t>(stride != 0 ? stride : spec.integer("kernel")), 0);
  constexpr std::size_t kLargestPlace = std::numeric_limits<std::int32_t>::max();
  if (!over.fits || input.height * input.width > kLargestPlace) return nullptr;
  return std::make_unique<FusedMaxPool>(over.windows, batch_size);
}

}  // namespace hogpen::detail
