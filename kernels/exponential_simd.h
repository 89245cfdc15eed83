#pragma once

// e^x for *_simd.cpp alone, in the namespace of the instruction set: see kernels/simd.h.
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {

/// e^x of each element: SLEEF's but for float32 with AVX2 or AVX-512.
template <class V>
inline V exponential(V x) {
  return x.exp();
}

#if defined(CPU_CAPABILITY_AVX512)

/// 2^n for whole numbers n, from the number that is to be rounded to n: `factor` * `y`.
class PowerOfTwo {
 public:
  PowerOfTwo(FloatVector y, float factor)
      : n_(_mm512_roundscale_ps(y * FloatVector(factor), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)) {}
  [[nodiscard]] FloatVector exponent() const { return n_; }
  /// Rounds subnormal results once, and overflows to infinity.
  [[nodiscard]] FloatVector times(FloatVector x) const { return _mm512_scalef_ps(x, n_); }

 private:
  __m512 n_;
};

using SmallPowerOfTwo = PowerOfTwo;
template <std::size_t kCount>
constexpr bool are_small(const std::array<FloatVector, kCount>& /*x*/) {
  return false;  // there is nothing to gain
}

#elif defined(CPU_CAPABILITY_AVX2)

/// As with AVX-512, for -252 <= n <= 253 and 0.5 <= x < 2, by arithmetic on the bits of exponents.
class PowerOfTwo {
 public:
  // At 1.5 * 2^23 the unit in the last place is 1: the sum's last bits are n.
  PowerOfTwo(FloatVector y, float factor) : shifted_(at::vec::fmadd(y, FloatVector(factor), FloatVector(kShift))) {}
  [[nodiscard]] FloatVector exponent() const { return shifted_ - FloatVector(kShift); }
  /// In two steps, since 2^n itself may be no float. The first is exact; the second rounds subnormal results once, and
  /// overflows to infinity.
  [[nodiscard]] FloatVector times(FloatVector x) const {
    constexpr int kExponentBit = 23;
    const __m256i bits = _mm256_castps_si256(shifted_);
    const __m256i all = _mm256_slli_epi32(bits, kExponentBit);
    const __m256i half = _mm256_slli_epi32(_mm256_srai_epi32(bits, 1), kExponentBit);  // the bits of kShift fall out
    const __m256i rest = _mm256_sub_epi32(all, half);
    const __m256i one = _mm256_castps_si256(_mm256_set1_ps(1.0F));
    const auto power = [one](__m256i exponent) { return _mm256_castsi256_ps(_mm256_add_epi32(exponent, one)); };
    return _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(rest));  // NaN stays NaN, whatever its n
  }

 protected:
  static constexpr float kShift = 0x1.8p23F;
  FloatVector shifted_;
};

/// The same where 2^n times x is neither subnormal nor too large: in one step.
class SmallPowerOfTwo : public PowerOfTwo {
 public:
  using PowerOfTwo::PowerOfTwo;
  [[nodiscard]] FloatVector times(FloatVector x) const {
    const __m256i all = _mm256_slli_epi32(_mm256_castps_si256(shifted_), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), all));
  }
};

/// Whether e^x may be had with a SmallPowerOfTwo for all of x: |n| <= 125. A NaN is not small.
template <std::size_t kCount>
inline bool are_small(const std::array<FloatVector, kCount>& x) {
  const auto bits_of = [](float number) { return _mm256_castps_si256(_mm256_set1_ps(number)); };
  const auto size_of = [&](const FloatVector& one) {
    return _mm256_andnot_si256(bits_of(-0.0F), _mm256_castps_si256(one));
  };
  __m256i most = size_of(x[0]);
  for (std::size_t i = 1; i < kCount; ++i) most = _mm256_max_epi32(most, size_of(x[i]));
  return _mm256_movemask_epi8(_mm256_cmpgt_epi32(most, bits_of(86.5F))) == 0;
}

#endif

#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)

/// f of the first elements of the arrays, of the second, and so on.
template <std::size_t... kAll, class F, class... Arrays>
inline auto each(std::index_sequence<kAll...>, const F& f, const Arrays&... arrays) {
  const auto at = [&](auto i) { return f(arrays[i]...); };
  return std::array{at(std::integral_constant<std::size_t, kAll>())...};
}

// Ours, because SLEEF's is limited by its call and by the fifteen constants that each call loads, which is 1.7 times
// the work, and keeps large arrays from going as fast as memory does.
//
// e^x = 2^n e^r, where n is x / ln 2 rounded and so |r| <= ln 2 / 2. ln 2 is taken in two parts, the first of 16 bits,
// so that n times it is exact (Cody and Waite, "Software Manual for the Elementary Functions", 1980). e^r = 1 + r + r^2
// q(r): q is of degree 4, fitted for the least relative error, which is 0.07 * 2^-24. What rounding takes from 1 + r is
// added to the small terms (Dekker's fast two-sum). At most 0.80 ulp, over all floats.
//
// Several vectors go from step to step together: one alone is a chain of operations each of which waits for the one
// before, and is longer than what a CPU with AVX2 looks ahead.
template <class Power, std::size_t kCount>
inline std::array<FloatVector, kCount> exponential_by(const std::array<FloatVector, kCount>& y) {
  using V = FloatVector;
  const auto all = [](const auto&... step) { return each(std::make_index_sequence<kCount>(), step...); };
  const auto power = all([](V one) { return Power(one, 0x1.715476p+0F); }, y);
  const auto n = all([](const Power& one) { return one.exponent(); }, power);
  const auto coarse = all([](V times, V one) { return at::vec::fnmadd(times, V(0x1.62e4p-1F), one); }, n, y);
  const auto r = all([](V times, V one) { return at::vec::fnmadd(times, V(0x1.7f7d1cp-20F), one); }, n, coarse);
  auto q = all([](V) { return V(0x1.6a2256p-10F); }, r);
  for (const float coefficient : {0x1.123b02p-7F, 0x1.5558f8p-5F, 0x1.55549p-3F, 0x1.fffffcp-2F}) {
    q = all([coefficient](V sum, V one) { return at::vec::fmadd(sum, one, V(coefficient)); }, q, r);
  }
  // Each on its own: together they would need more registers than there are.
  return all(
      [](const Power& two, V one, V sum) {
        const V high = V(1.0F) + one;
        const V low = one - (high - V(1.0F));
        return two.times(high + at::vec::fmadd(one * one, sum, low));
      },
      power, r, q);
}

template <std::size_t kCount>
inline std::array<FloatVector, kCount> exponential(std::array<FloatVector, kCount> x) {
  if (are_small(x)) return exponential_by<SmallPowerOfTwo>(x);
  // Beyond these all results are 0 or infinity. A NaN stays one.
  for (FloatVector& one : x) one = at::vec::clamp(one, FloatVector(-104.5F), FloatVector(89.0F));
  return exponential_by<PowerOfTwo>(x);
}

template <>
inline FloatVector exponential(FloatVector x) {
  return exponential(std::array{x})[0];
}
#endif

}  // namespace hogpen::kernels::CPU_CAPABILITY
