#include "kernels/stream.h"

#include "kernels/instruction_set.h"
#include "kernels/stream_simd.h"

namespace hogpen::kernels {
namespace {

const StreamLoops& loops() noexcept {
  return for_this_cpu(DEFAULT::kStreamLoops, AVX2::kStreamLoops, AVX512::kStreamLoops);
}

}  // namespace

void stream_copy(float* a, const float* b, std::size_t n) noexcept {
  loops().copy(a, b, n);
}

void stream_scale(float* a, const float* b, float q, std::size_t n) noexcept {
  loops().scale(a, b, q, n);
}

void stream_triad(float* a, const float* b, const float* c, float q, std::size_t n) noexcept {
  loops().triad(a, b, c, q, n);
}

}  // namespace hogpen::kernels
