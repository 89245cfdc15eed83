#include "kernels/stream_simd.h"
#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using Vector = at::vec::Vectorized<float>;

template <class F>
void stream_all(float* out, std::size_t n, const F& vector_at) {
  for (std::size_t i = 0; i < n; i += Vector::size()) stream(out + i, vector_at(i));
  _mm_sfence();
}

void copy(float* a, const float* b, std::size_t n) {
  stream_all(a, n, [b](std::size_t i) { return Vector::loadu(b + i); });
}

void scale(float* a, const float* b, float q, std::size_t n) {
  stream_all(a, n, [b, q](std::size_t i) { return Vector(q) * Vector::loadu(b + i); });
}

void triad(float* a, const float* b, const float* c, float q, std::size_t n) {
  stream_all(a, n, [b, c, q](std::size_t i) { return Vector::loadu(b + i) + Vector(q) * Vector::loadu(c + i); });
}

}  // namespace

const StreamLoops kStreamLoops = {copy, scale, triad};

}  // namespace hogpen::kernels::CPU_CAPABILITY
