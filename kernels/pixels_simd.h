#pragma once

#include <cstddef>
#include <cstdint>

namespace hogpen::kernels {

struct PixelLoops {
  void (*normalize)(const std::uint8_t* pixels, float* out, std::size_t n, float scale, float shift);
};

// One for each instruction set that pixels_simd.cpp is compiled for.
namespace DEFAULT {
extern const PixelLoops kPixelLoops;
}
namespace AVX2 {
extern const PixelLoops kPixelLoops;
}
namespace AVX512 {
extern const PixelLoops kPixelLoops;
}

}  // namespace hogpen::kernels
