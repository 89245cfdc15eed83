#pragma once

// The layers of images_cuda.h whose numbers are products: see kernels/product_block.h.
#include "kernels/activated_block.h"
#include "kernels/grid.h"
#include "kernels/images_cuda.h"
#include "kernels/product_block.h"

namespace hogpen::kernels::detail {

/// What a window sees at a tap.
C10_HOST_DEVICE inline float seen(const LayerInput& x, const Grid& grid, Index window, Index tap) {
  const Index position = window % grid.positions;
  const Index inside = tap % (grid.kernel * grid.kernel);
  // Too large a number beyond the upper or left edge.
  const Index row = position / grid.columns * grid.stride + inside / grid.kernel - grid.padding;
  const Index column = position % grid.columns * grid.stride + inside % grid.kernel - grid.padding;
  if (row >= grid.height || column >= grid.width) return 0.0F;
  const Index channel = tap / (grid.kernel * grid.kernel);
  return element(x, window / grid.positions, (channel * grid.height + row) * grid.width + column,
                 grid.channels * grid.area());
}

/// [window, tap]
struct WindowsAndTaps {
  static constexpr bool kTermsAreNeighbours = false;
  LayerInput x;
  Grid grid;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    return seen(x, grid, static_cast<Index>(i), static_cast<Index>(term));
  }
};

/// [tap, window], and behind the last tap ones.
struct TapsAndOnes {
  static constexpr bool kTermsAreNeighbours = true;
  LayerInput x;
  Grid grid;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    return i < grid.taps() ? seen(x, grid, static_cast<Index>(term), static_cast<Index>(i)) : 1.0F;
  }
};

/// dy as [out, window].
struct OutputsAndWindows {
  static constexpr bool kTermsAreNeighbours = true;
  const float* dy;
  Index positions;
  Index out;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    const auto window = static_cast<Index>(term);
    return dy[(window / positions * out + i) * positions + window % positions];
  }
};

/// w as [channel, (output, place in the kernel)].
struct WeightsOfChannel {
  static constexpr bool kTermsAreNeighbours = true;
  const float* w;
  Grid grid;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    const Index area = grid.kernel * grid.kernel;
    const Index output = static_cast<Index>(term) / area;
    return w[(output * grid.channels + i) * area + static_cast<Index>(term) % area];
  }
};

/// dy as [pixel of an image, (output, place in the kernel)]: 0 where no window has that pixel there.
struct PixelsAndWeights {
  static constexpr bool kTermsAreNeighbours = false;
  const float* dy;
  Grid grid;
  Index out;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    const auto pixel = static_cast<Index>(i);
    const auto weight = static_cast<Index>(term);
    const Index inside = weight % (grid.kernel * grid.kernel);
    const Index row = pixel % grid.area() / grid.width + grid.padding - inside / grid.kernel;
    const Index column = pixel % grid.width + grid.padding - inside % grid.kernel;
    const Index window_row = row / grid.stride;  // too large a number where `row` would be negative
    const Index window_column = column / grid.stride;
    const bool is_there = row % grid.stride == 0 && column % grid.stride == 0 &&
                          window_row < grid.positions / grid.columns && window_column < grid.columns;
    if (!is_there) return 0.0F;
    const Index output = pixel / grid.area() * out + weight / (grid.kernel * grid.kernel);
    return dy[output * grid.positions + window_row * grid.columns + window_column];
  }
};

C10_HOST_DEVICE inline Product product(const ConvolutionForward& layer) {
  const Windows& windows = layer.shape.windows;
  return {layer.shape.out, layer.shape.n * windows.positions(), windows.taps()};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const ConvolutionForward& layer, Block& block, Tiles<kGroups>& tiles, const Product& p) {
  const Grid grid(layer.shape.windows);
  multiply(block, tiles, p, Rows{layer.w, grid.taps()}, WindowsAndTaps{layer.x, grid},
           [&](std::size_t output, std::size_t column, float sum) {
             const auto window = static_cast<Index>(column);
             const std::size_t image = window / grid.positions * p.rows + output;
             store(layer.y, image * grid.positions + window % grid.positions,
                   layer.b != nullptr ? sum + layer.b[output] : sum);
           });
}

C10_HOST_DEVICE inline Product product(const ConvolutionBackwardInput& layer) {
  const Windows& windows = layer.shape.windows;
  return {windows.channels, layer.shape.n * windows.height * windows.width,
          layer.shape.out * windows.kernel * windows.kernel};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const ConvolutionBackwardInput& layer, Block& block, Tiles<kGroups>& tiles, const Product& p) {
  const Grid grid(layer.shape.windows);
  multiply(block, tiles, p, WeightsOfChannel{layer.w, grid},
           PixelsAndWeights{layer.dy, grid, static_cast<Index>(layer.shape.out)},
           [&](std::size_t channel, std::size_t column, float sum) {
             const auto pixel = static_cast<Index>(column);
             const std::size_t image = pixel / grid.area() * p.rows + channel;
             const std::size_t i = image * grid.area() + pixel % grid.area();
             layer.dz[i] = sum * slope(layer.x, i);
           });
}

C10_HOST_DEVICE inline Product product(const ConvolutionBackwardWeight& layer) {
  const Windows& windows = layer.shape.windows;
  return {layer.shape.out, windows.taps() + 1, layer.shape.n * windows.positions(), layer.parts};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const ConvolutionBackwardWeight& layer, Block& block, Tiles<kGroups>& tiles,
                         const Product& p) {
  const Grid grid(layer.shape.windows);
  multiply(block, tiles, p, OutputsAndWindows{layer.dy, grid.positions, static_cast<Index>(layer.shape.out)},
           TapsAndOnes{layer.x, grid}, [&](std::size_t output, std::size_t tap, float sum) {
             layer.part_sums[(p.part * p.rows + output) * p.columns + tap] = sum;
           });
}

}  // namespace hogpen::kernels::detail
