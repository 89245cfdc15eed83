#pragma once

#include <c10/macros/Macros.h>

#include <cstdint>

#include "kernels/convolution.h"

namespace hogpen::kernels::detail {

using Index = std::uint32_t;  // a GPU divides it in a fraction of the time that 64 bits take

/// The windows over a batch of images.
struct Grid {
  C10_HOST_DEVICE explicit Grid(const Windows& w)
      : height(static_cast<Index>(w.height)),
        width(static_cast<Index>(w.width)),
        kernel(static_cast<Index>(w.kernel)),
        stride(static_cast<Index>(w.stride)),
        padding(static_cast<Index>(w.padding)),
        columns(static_cast<Index>(w.columns())),
        positions(static_cast<Index>(w.positions())),
        channels(static_cast<Index>(w.channels)) {}

  [[nodiscard]] C10_HOST_DEVICE Index taps() const { return channels * kernel * kernel; }
  [[nodiscard]] C10_HOST_DEVICE Index area() const { return height * width; }

  Index height;
  Index width;
  Index kernel;
  Index stride;
  Index padding;
  Index columns;
  Index positions;
  Index channels;
};

}  // namespace hogpen::kernels::detail
