#pragma once

#include <cstddef>
#include <cstdint>

/// Dropout on raw memory. Dtypes: float32. Sharing: all memory is the caller's own.
/// Requires: pointers aligned to 4 bytes; what is written overlaps nothing else but as said.
namespace hogpen::kernels {

/// mask[i] = 0 with probability p, else 1 / (1 - p), from the next numbers of the stream that `state` stands for
/// (kernels/split_mix.h).
///
/// Requires: 0 <= p <= 1. Accuracy: p is rounded to 2⁻³².
void draw_mask(double p, float* mask, std::size_t n, std::uint64_t& state);

/// y = x, of which each `group` numbers are multiplied with one of the mask's n; the same for gradients. x and y may be
/// the same.
void apply_mask(const float* mask, const float* x, float* y, std::size_t n, std::size_t group);

}  // namespace hogpen::kernels
