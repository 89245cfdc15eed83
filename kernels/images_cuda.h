#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/convolution.h"
#include "kernels/dense_cuda.h"

// The layers of convolution.h, for kernels/layers_cuda.h.
namespace hogpen::kernels {

/// n images, and a convolution of them to `out` channels.
struct ConvolutionShape {
  Windows windows;
  std::size_t n = 0;
  std::size_t out = 0;
};

/// y [n, out, rows, columns] = f(the convolution of x with w, + b), and what stood in f.
struct ConvolutionForward {
  LayerInput x;
  const float* w = nullptr;
  const float* b = nullptr;
  Activated y;
  ConvolutionShape shape;
};

/// As LinearBackwardInput.
struct ConvolutionBackwardInput {
  const float* dy = nullptr;
  const float* w = nullptr;
  Activated x;
  float* dz = nullptr;
  ConvolutionShape shape;
};

/// Gradients of w and b as sums over parts of the batch's windows: part_sums [parts, out, taps + 1], b's behind w's.
struct ConvolutionBackwardWeight {
  const float* dy = nullptr;
  LayerInput x;
  float* part_sums = nullptr;
  std::size_t parts = 1;
  ConvolutionShape shape;
};

/// So many parts that a whole GPU has work, and each has some.
[[nodiscard]] inline std::size_t convolution_parts(const ConvolutionShape& shape) noexcept {
  constexpr std::size_t kNumbersOfBlock = 1024;
  constexpr std::size_t kBlocks = 256;
  constexpr std::size_t kTermsOfPart = 256;
  const std::size_t blocks = shape.out * (shape.windows.taps() + 1) / kNumbersOfBlock + 1;
  const std::size_t most = shape.n * shape.windows.positions() / kTermsOfPart;
  return std::clamp<std::size_t>(kBlocks / blocks, 1, std::max<std::size_t>(most, 1));
}

/// dw [out, taps] and db [out] from ConvolutionBackwardWeight's sums.
struct AddParts {
  const float* part_sums = nullptr;
  std::size_t parts = 0;
  float* dw = nullptr;
  float* db = nullptr;
  std::size_t out = 0;
  std::size_t taps = 0;
};

/// As max_pool_forward, and y = f(z).
struct MaxPoolForward {
  LayerInput x;
  Activated y;
  std::int32_t* places = nullptr;
  Windows windows;
  std::size_t n = 0;
};

/// As LinearBackwardInput.
struct MaxPoolBackward {
  const float* dy = nullptr;
  const std::int32_t* places = nullptr;
  Activated x;
  float* dz = nullptr;
  Windows windows;
  std::size_t n = 0;
};

}  // namespace hogpen::kernels
