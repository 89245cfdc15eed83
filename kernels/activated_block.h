#pragma once

// What the layers of a block read and write: see kernels/product_block.h.
#include <c10/macros/Macros.h>

#include <cmath>
#include <cstddef>

#include "kernels/dense_cuda.h"

namespace hogpen::kernels::detail {

C10_HOST_DEVICE inline float element(const LayerInput& x, std::size_t row, std::size_t column, std::size_t width) {
  const std::size_t sample = x.samples != nullptr ? x.samples[row] : row;
  if (x.values != nullptr) return x.values[sample * width + column];
  return static_cast<float>(x.pixels[sample * width + column]) * x.scale + x.shift;
}

C10_HOST_DEVICE inline float activate(Activation activation, float z) {
  switch (activation) {
    case Activation::identity:
      return z;
    case Activation::relu:
      return z < 0.0F ? 0.0F : z;  // a NaN stays one
    case Activation::tanh:
      return std::tanh(z);
    case Activation::sigmoid: {
      const float e = std::exp(-std::fabs(z));
      return (z < 0.0F ? e : 1.0F) / (1.0F + e);
    }
    case Activation::gelu:
      return 0.5F * z * (1.0F + std::erf(z * 0x1.6a09e6p-1F));
  }
  return z;
}

/// y[i] = f(z), and what its slope follows from.
C10_HOST_DEVICE inline void store(const Activated& to, std::size_t i, float z) {
  if (to.z != nullptr) to.z[i] = z;
  to.y[i] = activate(to.activation, z);
}

/// f'(z), where y[i] = f(z).
C10_HOST_DEVICE inline float slope(const Activated& x, std::size_t i) {
  switch (x.activation) {
    case Activation::identity:
      return 1.0F;
    case Activation::relu:
      return x.y[i] > 0.0F ? 1.0F : 0.0F;
    case Activation::tanh:
      return 1.0F - x.y[i] * x.y[i];
    case Activation::sigmoid:
      return x.y[i] * (1.0F - x.y[i]);
    case Activation::gelu: {
      const float z = x.z[i];
      const float density = 0x1.988454p-2F * std::exp(-0.5F * z * z);  // of the normal distribution
      return 0.5F * (1.0F + std::erf(z * 0x1.6a09e6p-1F)) + z * density;
    }
  }
  return 1.0F;
}

}  // namespace hogpen::kernels::detail
