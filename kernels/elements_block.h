#pragma once

// The layers of dense_cuda.h and images_cuda.h that compute each number by itself: `elements` says how many there are,
// and compute(layer, i) makes one of them.
#include "kernels/activated_block.h"
#include "kernels/grid.h"
#include "kernels/images_cuda.h"
#include "kernels/split_mix.h"

namespace hogpen::kernels::detail {

/// mask[i]: split_mix's states are counted, so that none needs the one before it.
C10_HOST_DEVICE inline float at(const DropoutMask& mask, std::size_t i) {
  const std::size_t number = mask.skipped + i / mask.group / 2;
  std::uint64_t state = *mask.state + number * kSplitMixStep;
  const std::uint64_t bits = split_mix(state);
  return mask.rule(i / mask.group % 2 == 0 ? bits : bits >> 32U);
}

C10_HOST_DEVICE inline std::size_t elements(const DropoutForward& layer) {
  return layer.rows * layer.width;
}
C10_HOST_DEVICE inline void compute(const DropoutForward& layer, std::size_t i) {
  store(layer.y, i, element(layer.x, i / layer.width, i % layer.width, layer.width) * at(layer.mask, i));
}

C10_HOST_DEVICE inline std::size_t elements(const DropoutBackward& layer) {
  return layer.numel;
}
C10_HOST_DEVICE inline void compute(const DropoutBackward& layer, std::size_t i) {
  layer.dz[i] = layer.dy[i] * at(layer.mask, i) * slope(layer.x, i);
}

C10_HOST_DEVICE inline std::size_t elements(const SkipRandom& /*layer*/) {
  return 1;
}
C10_HOST_DEVICE inline void compute(const SkipRandom& layer, std::size_t /*i*/) {
  *layer.state += layer.numbers * kSplitMixStep;
}

C10_HOST_DEVICE inline std::size_t elements(const AddParts& layer) {
  return layer.out * (layer.taps + 1);
}
C10_HOST_DEVICE inline void compute(const AddParts& layer, std::size_t i) {
  float sum = 0.0F;
  for (std::size_t part = 0; part < layer.parts; ++part) sum += layer.part_sums[part * elements(layer) + i];
  const std::size_t output = i / (layer.taps + 1);
  const std::size_t tap = i % (layer.taps + 1);
  float& gradient = tap < layer.taps ? layer.dw[output * layer.taps + tap] : layer.db[output];
  gradient = sum;
}

C10_HOST_DEVICE inline std::size_t elements(const MaxPoolForward& layer) {
  return layer.n * layer.windows.channels * layer.windows.positions();
}
C10_HOST_DEVICE inline void compute(const MaxPoolForward& layer, std::size_t i) {
  const Grid grid(layer.windows);
  const Index position = static_cast<Index>(i) % grid.positions;
  const Index plane = static_cast<Index>(i) / grid.positions;
  const Index first = position / grid.columns * grid.stride * grid.width + position % grid.columns * grid.stride;
  const auto at = [&](Index place) {
    return element(layer.x, plane / grid.channels, plane % grid.channels * grid.area() + place,
                   grid.channels * grid.area());
  };
  Index best = first;
  float largest = at(first);
  for (Index row = 0; row < grid.kernel; ++row) {
    for (Index column = 0; column < grid.kernel; ++column) {
      const Index place = first + row * grid.width + column;
      const float value = at(place);
      if (value > largest || std::isnan(value)) {
        best = place;
        largest = value;
      }
    }
  }
  layer.places[i] = static_cast<std::int32_t>(best);
  store(layer.y, i, largest);
}

C10_HOST_DEVICE inline std::size_t elements(const MaxPoolBackward& layer) {
  return layer.n * layer.windows.pixels();
}
/// Adds up what the windows that a pixel is in have for it.
C10_HOST_DEVICE inline void compute(const MaxPoolBackward& layer, std::size_t i) {
  const Grid grid(layer.windows);
  const Index place = static_cast<Index>(i) % grid.area();
  const std::size_t plane = i / grid.area() * grid.positions;
  const Index row = place / grid.width;
  const Index column = place % grid.width;
  const auto first = [&](Index pixel) { return pixel < grid.kernel ? 0 : (pixel - grid.kernel) / grid.stride + 1; };
  float sum = 0.0F;
  for (Index r = first(row); r <= row / grid.stride && r < grid.positions / grid.columns; ++r) {
    for (Index c = first(column); c <= column / grid.stride && c < grid.columns; ++c) {
      const std::size_t window = plane + r * grid.columns + c;
      if (layer.places[window] == static_cast<std::int32_t>(place)) sum += layer.dy[window];
    }
  }
  layer.dz[i] = sum * slope(layer.x, i);
}

}  // namespace hogpen::kernels::detail
