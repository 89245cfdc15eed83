#pragma once

#include <c10/macros/Macros.h>

#include <cstddef>
#include <cstdint>

/// Dropout on raw memory. Dtypes: float32. Sharing: all memory is the caller's own.
/// Requires: pointers aligned to 4 bytes; what is written overlaps nothing else but as said.
namespace hogpen::kernels {

/// How an element of a mask follows from 32 random bits: 0 with probability p, else 1 / (1 - p).
///
/// Requires: 0 <= p <= 1. Accuracy: p is rounded to 2⁻³². Sharing: a value.
struct DropoutRule {
  explicit DropoutRule(double p = 0.0) noexcept;
  [[nodiscard]] C10_HOST_DEVICE float operator()(std::uint64_t bits) const noexcept {
    return (bits & 0xFFFFFFFFU) < threshold ? 0.0F : kept;
  }

  std::uint64_t threshold;
  float kept;
};

/// How many numbers `draw_mask` takes: one of 64 bits is good for two elements.
[[nodiscard]] constexpr std::size_t numbers_of_mask(std::size_t n) noexcept {
  return (n + 1) / 2;
}

/// mask[i] for all i, from the next numbers of the stream that `state` stands for (kernels/split_mix.h).
void draw_mask(const DropoutRule& rule, float* mask, std::size_t n, std::uint64_t& state);

/// y = x, of which each `group` numbers are multiplied with one of the mask's n; the same for gradients. x and y may be
/// the same.
void apply_mask(const float* mask, const float* x, float* y, std::size_t n, std::size_t group);

}  // namespace hogpen::kernels
