#pragma once

#include <cstddef>

namespace hogpen::kernels {

struct StreamLoops {
  void (*copy)(float* a, const float* b, std::size_t n);
  void (*scale)(float* a, const float* b, float q, std::size_t n);
  void (*triad)(float* a, const float* b, const float* c, float q, std::size_t n);
};

// One for each instruction set that stream_simd.cpp is compiled for.
namespace DEFAULT {
extern const StreamLoops kStreamLoops;
}
namespace AVX2 {
extern const StreamLoops kStreamLoops;
}
namespace AVX512 {
extern const StreamLoops kStreamLoops;
}

}  // namespace hogpen::kernels
