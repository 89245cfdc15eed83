#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "tests/kernels/ulp.h"

namespace hogpen::kernels {

template <class T>
using Bits =
    std::conditional_t<sizeof(T) == 8, std::uint64_t, std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>>;

template <class T>
T from_bits(std::uint64_t bits) {
  return std::bit_cast<T>(static_cast<Bits<T>>(bits));
}

// All bit patterns of 16-bit types; of the others a million, spread evenly over all of them, and those where an op does
// something of its own.
template <class T>
std::vector<T> representative_values() {
  std::vector<T> values;
  constexpr int kBits = 8 * sizeof(T);
  constexpr std::uint64_t kStep = kBits == 16 ? 1 : ((std::uint64_t{1} << (kBits - 20)) | 1);
  constexpr std::uint64_t kCount = std::uint64_t{1} << (kBits == 16 ? 16 : 20);
  for (std::uint64_t i = 0; i < kCount; ++i) values.push_back(from_bits<T>(i * kStep));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float x :
       {0.0F,   1.0F,   0.5F,   2.0F,   10.0F,  20.0F,  44.0F,     87.3F,
        88.72F, 88.73F, 90.0F,  103.9F, 104.0F, 110.0F, 709.78F,   709.79F,
        745.2F, 1e-40F, 1e-30F, 3e4F,   6.5e4F, 1e38F,  kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    values.push_back(static_cast<T>(x));
    values.push_back(static_cast<T>(-x));
  }
  return values;
}

inline const std::vector<UnaryOp>& all_ops() {
  static const std::vector<UnaryOp> ops = [] {
    std::vector<UnaryOp> list;
    for (const NamedUnaryOp& named : kUnaryOps) list.push_back({.kind = named.kind});
    list.back().scale = 1.7;
    list.back().shift = -0.3;
    return list;
  }();
  return ops;
}

// The sum of scale_shift may cancel, so its error is bounded by two roundings of its terms and not of the result.
template <class T>
bool is_accurate(UnaryOp op, bool is_libm, T x, T result) {
  const auto wanted = exact<T>(op, x);
  if (ulps_between<T>(result, wanted) <= allowed_ulps<T>(op.kind, is_libm)) return true;
  if (op.kind != UnaryOp::Kind::scale_shift) return false;
  UnaryOp only_scale = op;
  only_scale.shift = 0;
  const double product = std::fabs(static_cast<double>(exact<T>(only_scale, x)));
  const double unit = std::ldexp(product + std::fabs(op.shift), -(std::is_same_v<T, double> ? 53 : 24));
  return std::fabs(static_cast<double>(result) - static_cast<double>(wanted)) <=
         unit + std::ldexp(std::fabs(static_cast<double>(wanted)), -kDigits<T>);
}

template <class T>
std::vector<T> some_values(std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(0.25F + static_cast<float>(i % 29));
  return values;
}

template <class T>
bool same_bits(const T* a, const T* b, std::size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
}

}  // namespace hogpen::kernels
