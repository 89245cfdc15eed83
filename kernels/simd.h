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

#include <cstddef>
#include <cstdint>

namespace hogpen::kernels::CPU_CAPABILITY {

using FloatVector = at::vec::Vectorized<float>;

/// All elements of a vector: how loops load and store those that are full.
struct AllLanes {
  [[nodiscard]] FloatVector load(const float* from) const { return FloatVector::loadu(from); }
  void store(const FloatVector& values, float* to) const { values.store(to); }
};

/// The first elements of a vector: the others are zero, and what lies behind in memory is neither read nor written.
/// LibTorch's own way with AVX2 goes through a buffer.
///
/// Sharing: immutable.
class FirstLanes {
 public:
#if defined(CPU_CAPABILITY_AVX512)
  explicit FirstLanes(std::size_t count) : mask_(static_cast<__mmask16>((1U << count) - 1)) {}
  [[nodiscard]] FloatVector load(const float* from) const { return _mm512_maskz_loadu_ps(mask_, from); }
  void store(const FloatVector& values, float* to) const { _mm512_mask_storeu_ps(to, mask_, values); }

 private:
  __mmask16 mask_;
#elif defined(CPU_CAPABILITY_AVX2)
  explicit FirstLanes(std::size_t count) {
    static constexpr std::int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    mask_ = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - count));
  }
  [[nodiscard]] FloatVector load(const float* from) const { return _mm256_maskload_ps(from, mask_); }
  void store(const FloatVector& values, float* to) const { _mm256_maskstore_ps(to, mask_, values); }

 private:
  __m256i mask_;
#else
  explicit FirstLanes(std::size_t count) : count_(static_cast<int>(count)) {}
  [[nodiscard]] FloatVector load(const float* from) const { return FloatVector::loadu(from, count_); }
  void store(const FloatVector& values, float* to) const { values.store(to, count_); }

 private:
  int count_;
#endif
};

/// Calls f(lanes) for `count` elements, at most a vector.
template <class F>
inline void with_lanes(std::size_t count, const F& f) {
  if (count == FloatVector::size()) return f(AllLanes());
  f(FirstLanes(count));
}

/// Calls f(begin, lanes) for each vector of an array.
template <class F>
inline void for_each_vector(std::size_t n, const F& f) {
  std::size_t i = 0;
  for (; i + FloatVector::size() <= n; i += FloatVector::size()) f(i, AllLanes());
  if (i < n) f(i, FirstLanes(n - i));
}

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
