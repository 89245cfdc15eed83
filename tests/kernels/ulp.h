#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/transform_reference.h"

namespace hogpen::kernels {

/// Bits of the significand, with the hidden one.
template <class T>
inline constexpr int kDigits = std::numeric_limits<T>::digits;

/// How far a result is from the exact one, in units in the last place of T at the exact one. Infinite where one of them
/// is NaN, or infinite, and the other is not; an exact result that rounds to infinity counts as infinite.
template <class T>
double ulps_between(T result, Wider<T> exact) {
  using W = Wider<T>;
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  const auto got = [&] {
    if constexpr (std::is_floating_point_v<T>)
      return static_cast<W>(result);
    else
      return static_cast<W>(static_cast<float>(result));
  }();
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : kWrong;
  constexpr int kLargest = std::numeric_limits<T>::max_exponent;
  const W overflow = std::ldexp(W{2} - std::ldexp(W{1}, -kDigits<T>), kLargest - 1);  // the middle above the largest
  if (std::isinf(got) || std::fabs(exact) >= overflow) {
    const bool may_overflow = std::fabs(exact) >= std::ldexp(W{1}, kLargest) * (1 - 4 * std::ldexp(W{1}, -kDigits<T>));
    return may_overflow && std::signbit(got) == std::signbit(exact) ? 0 : kWrong;
  }
  if (got == 0 && exact == 0 && std::signbit(got) != std::signbit(exact)) return kWrong;
  const int exponent = exact == 0 ? std::numeric_limits<T>::min_exponent : std::ilogb(exact) + 1;
  const int unit = std::max(exponent, std::numeric_limits<T>::min_exponent) - kDigits<T>;
  return static_cast<double>(std::fabs(std::ldexp(got - exact, -unit)));
}

/// The most that kernels/transform.h allows, in units in the last place; `is_libm`: where the C library computes.
template <class T>
double allowed_ulps(UnaryOp::Kind kind, bool is_libm) {
  if constexpr (!std::is_floating_point_v<T>) return 0.51;
  switch (kind) {
    using enum UnaryOp::Kind;
    case exp:
    case log:
      return 1.0;
    case tanh:
      return is_libm ? 3.0 : 2.0;
    case sigmoid:
      return 2.5;
    default:
      return 0.5;
  }
}

}  // namespace hogpen::kernels
