#pragma once

// For *_simd.cpp alone, which are compiled once for each instruction set, as ATen compiles its own kernels: the macro
// CPU_CAPABILITY names the set, and with it the namespace of LibTorch's vectorised headers and of what is defined here.
// Such a file must not define what others may share: no inline function or template outside that namespace, or the
// linker could take the version of the widest set for all.
#ifndef CPU_CAPABILITY
#define CPU_CAPABILITY DEFAULT  // whoever includes this header alone
#endif

#include <ATen/cpu/vec/vec.h>
#include <immintrin.h>

namespace hogpen::kernels::CPU_CAPABILITY {

/// Stores a vector past the cache. Requires: `out` is aligned to it; _mm_sfence() before the results are published.
template <class T>
inline void stream(T* out, const at::vec::Vectorized<T>& values) {
#if defined(CPU_CAPABILITY_AVX512)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(out), reinterpret_cast<const __m512i&>(values));
#elif defined(CPU_CAPABILITY_AVX2)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<const __m256i&>(values));
#else
  values.store(out);
#endif
}

}  // namespace hogpen::kernels::CPU_CAPABILITY
