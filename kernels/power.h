#pragma once

#include <cmath>
#include <cstdint>

/// `Power()(base, exponent)`: what Adam's corrections need, with the exponent counting steps.
///
/// Requires: base in [0, 1], exponent >= 0.
namespace hogpen::kernels::detail {

/// As the C library does it.
struct LibraryPower {
  double operator()(double base, std::int64_t exponent) const { return std::pow(base, static_cast<double>(exponent)); }
};

/// By operations that IEEE 754 defines to the bit, so that device code has the numbers of host code: CUDA's own pow
/// does not have the C library's. Repeated squaring, with every number the sum of two doubles.
///
/// Accuracy: within 1 ULP of LibraryPower, and nearly always the same; Adam's scalars, as floats, are the same.
struct PortablePower {
  struct Sum {
    double high;
    double low;
  };

  static constexpr Sum product(const Sum& a, const Sum& b) {
    const double high = a.high * b.high;
    const double low = std::fma(a.high, b.high, -high) + (a.high * b.low + a.low * b.high);
    const double sum = high + low;
    return {sum, low - (sum - high)};
  }

  constexpr double operator()(double base, std::int64_t exponent) const {
    Sum power{1.0, 0.0};
    Sum square{base, 0.0};
    for (; exponent > 0; exponent /= 2) {
      if (exponent % 2 != 0) power = product(power, square);
      square = product(square, square);
    }
    return power.high;
  }
};

}  // namespace hogpen::kernels::detail
