#include "kernels/dropout.h"

#include "kernels/split_mix.h"

namespace hogpen::kernels {

DropoutRule::DropoutRule(double p) noexcept
    : threshold(static_cast<std::uint64_t>(p * 4294967296.0 + 0.5)),
      kept(p < 1.0 ? static_cast<float>(1.0 / (1.0 - p)) : 0.0F) {}

void draw_mask(const DropoutRule& rule, float* mask, std::size_t n, std::uint64_t& state) {
  std::size_t i = 0;
  for (; i + 2 <= n; i += 2) {
    const std::uint64_t bits = split_mix(state);
    mask[i] = rule(bits);
    mask[i + 1] = rule(bits >> 32U);
  }
  if (i < n) mask[i] = rule(split_mix(state));
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
