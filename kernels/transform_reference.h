#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <type_traits>

#include "kernels/unary_op.h"

namespace hogpen::kernels {

/// A wider type, in which the C library's result is as good as exact for T.
template <class T>
using Wider = std::conditional_t<std::is_same_v<T, double>, long double, double>;

/// What `transform` approximates, said plainly: the op in a wider type, not rounded to T yet.
template <class T>
Wider<T> exact(UnaryOp op, T value) {
  using W = Wider<T>;
  using Scalar = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto x = static_cast<W>(static_cast<Scalar>(value));
  switch (op.kind) {
    using enum UnaryOp::Kind;
    case exp:
      return std::exp(x);
    case log:
      return std::log(x);
    case sigmoid:
      return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
    case tanh:
      return std::tanh(x);
    case relu:
      return x < 0 ? W{0} : x;
    case sqrt:
      return std::sqrt(x);
    case abs:
      return std::fabs(x);
    case negate:
      return -x;
    case square:
      return x * x;
    case scale_shift:
      break;
  }
  return static_cast<W>(static_cast<Scalar>(op.scale)) * x + static_cast<W>(static_cast<Scalar>(op.shift));
}

}  // namespace hogpen::kernels
