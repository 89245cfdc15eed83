#pragma once

#include <cstddef>
#include <cstdint>

namespace hogpen::kernels {

/// out[i] = pixels[i] * scale + shift.
///
/// Shapes: both [n]. Accuracy: two roundings, the same on every CPU. Requires: they do not overlap.
void normalize(const std::uint8_t* pixels, float* out, std::size_t n, float scale, float shift) noexcept;

}  // namespace hogpen::kernels
