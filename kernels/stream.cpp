#include "kernels/stream.h"

#include "kernels/instruction_set.h"
#include "kernels/stream_simd.h"

namespace hogpen::kernels {
namespace {

const StreamLoops& loops() noexcept {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return AVX512::kStreamLoops;
    case InstructionSet::avx2:
      return AVX2::kStreamLoops;
    case InstructionSet::x86_64:
      break;
  }
  return DEFAULT::kStreamLoops;
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
