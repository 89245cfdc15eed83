#pragma once

#include "kernels/convolution.h"

namespace hogpen::kernels {

/// What convolutions and pooling need beside the products of kernels/dense_simd.h, for one image.
struct ConvolutionLoops {
  /// columns[taps, positions]: what each tap of each window sees.
  void (*gather_columns)(const Windows& windows, const float* x, float* columns);
  /// dx += the columns, each number to where it came from.
  void (*scatter_columns)(const Windows& windows, const float* columns, float* dx);
  /// One row of windows over one channel, of which `first` is the place of the first.
  void (*max_pool_row)(const Windows& windows, const float* channel, std::int32_t first, float* y,
                       std::int32_t* places);
};

// One for each instruction set that convolution_simd.cpp is compiled for.
namespace DEFAULT {
extern const ConvolutionLoops kConvolutionLoops;
}
namespace AVX2 {
extern const ConvolutionLoops kConvolutionLoops;
}
namespace AVX512 {
extern const ConvolutionLoops kConvolutionLoops;
}

}  // namespace hogpen::kernels
