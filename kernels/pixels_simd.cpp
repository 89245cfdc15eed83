#include "kernels/pixels_simd.h"
#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using Vector = FloatVector;

Vector widen(const std::uint8_t* pixels) {
#if defined(CPU_CAPABILITY_AVX512)
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels))));
#elif defined(CPU_CAPABILITY_AVX2)
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels))));
#else
  float lanes[Vector::size()];
  for (int i = 0; i < Vector::size(); ++i) lanes[i] = static_cast<float>(pixels[i]);
  return Vector::loadu(lanes);
#endif
}

void normalize(const std::uint8_t* pixels, float* out, std::size_t n, float scale, float shift) {
  std::size_t i = 0;
  for (; i + Vector::size() <= n; i += Vector::size()) {
    (widen(pixels + i) * Vector(scale) + Vector(shift)).store(out + i);
  }
  for (; i < n; ++i) out[i] = static_cast<float>(pixels[i]) * scale + shift;
}

}  // namespace

const PixelLoops kPixelLoops = {normalize};

}  // namespace hogpen::kernels::CPU_CAPABILITY
