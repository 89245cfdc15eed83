#include "kernels/stream.h"

#include <immintrin.h>

namespace hogpen::kernels {
namespace {

/// Four floats at a time, which every x86-64 has: one core fills its path to memory with them.
template <class F>
void stream(float* out, std::size_t n, const F& four_at) noexcept {
  for (std::size_t i = 0; i < n; i += 4) _mm_stream_ps(out + i, four_at(i));
  _mm_sfence();
}

}  // namespace

void stream_copy(float* a, const float* b, std::size_t n) noexcept {
  stream(a, n, [b](std::size_t i) { return _mm_load_ps(b + i); });
}

void stream_scale(float* a, const float* b, float q, std::size_t n) noexcept {
  stream(a, n, [b, q](std::size_t i) { return _mm_mul_ps(_mm_set1_ps(q), _mm_load_ps(b + i)); });
}

void stream_triad(float* a, const float* b, const float* c, float q, std::size_t n) noexcept {
  stream(a, n, [b, c, q](std::size_t i) {
    return _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(_mm_set1_ps(q), _mm_load_ps(c + i)));
  });
}

}  // namespace hogpen::kernels
