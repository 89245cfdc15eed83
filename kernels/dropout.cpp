#include "kernels/dropout.h"

#include "kernels/split_mix.h"

namespace hogpen::kernels {

void draw_mask(double p, float* mask, std::size_t n, std::uint64_t& state) {
  constexpr double kRange = 4294967296.0;
  const auto threshold = static_cast<std::uint64_t>(p * kRange + 0.5);
  const float kept = p < 1.0 ? static_cast<float>(1.0 / (1.0 - p)) : 0.0F;
  // One number of 64 bits is good for two elements.
  std::size_t i = 0;
  for (; i + 2 <= n; i += 2) {
    const std::uint64_t bits = split_mix(state);
    mask[i] = (bits & 0xFFFFFFFFU) < threshold ? 0.0F : kept;
    mask[i + 1] = (bits >> 32U) < threshold ? 0.0F : kept;
  }
  if (i < n) mask[i] = (split_mix(state) >> 32U) < threshold ? 0.0F : kept;
}

void apply_mask(const float* mask, const float* x, float* y, std::size_t n, std::size_t group) {
  if (group == 1) {
    for (std::size_t i = 0; i < n; ++i) y[i] = x[i] * mask[i];
    return;
  }
  for (std::size_t i = 0; i < n; ++i, x += group, y += group) {
    for (std::size_t j = 0; j < group; ++j) y[j] = x[j] * mask[i];
  }
}

}  // namespace hogpen::kernels
