#include "kernels/pixels.h"

#include "kernels/instruction_set.h"
#include "kernels/pixels_simd.h"

namespace hogpen::kernels {

void normalize(const std::uint8_t* pixels, float* out, std::size_t n, float scale, float shift) noexcept {
  for_this_cpu(DEFAULT::kPixelLoops, AVX2::kPixelLoops, AVX512::kPixelLoops).normalize(pixels, out, n, scale, shift);
}

}  // namespace hogpen::kernels
