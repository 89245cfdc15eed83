// Matrix products of the sizes that small networks have, without packing: each block of results stays in registers
// while the operands stream from the cache. See kernels/simd.h for how it is compiled.
#include "kernels/dense_simd.h"

#include <algorithm>
#include <cmath>

#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using Vector = at::vec::Vectorized<float>;
constexpr std::size_t kWidth = Vector::size();

// A block's results and operands must fit the registers: 32 vectors with AVX-512, else 16.
#if defined(CPU_CAPABILITY_AVX512)
constexpr std::size_t kDotRows = 4;
constexpr std::size_t kDotColumns = 4;
constexpr std::size_t kSumRows = 8;
constexpr std::size_t kSumVectors = 3;
#else
constexpr std::size_t kDotRows = 3;
constexpr std::size_t kDotColumns = 3;
constexpr std::size_t kSumRows = 4;
constexpr std::size_t kSumVectors = 2;
#endif

float sum_of(const Vector& v) {
#if defined(CPU_CAPABILITY_AVX512)
  return _mm512_reduce_add_ps(v);
#else
  float lanes[kWidth];
  v.store(lanes);
  for (std::size_t half = kWidth / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
#endif
}

Vector load(const float* from, std::size_t count) {
  return count == kWidth ? Vector::loadu(from) : Vector::loadu(from, static_cast<std::int16_t>(count));
}

/// kRows rows of x times kColumns rows of w.
template <std::size_t kRows, std::size_t kColumns>
void dot_block(const float* x, const float* w, const float* b, float* y, std::size_t columns, std::size_t k) {
  Vector sums[kRows][kColumns];
  for (auto& row : sums) std::fill_n(row, kColumns, Vector(0.0F));
  const auto add = [&](std::size_t at, std::size_t count) {
    Vector weights[kColumns];
    for (std::size_t j = 0; j < kColumns; ++j) weights[j] = load(w + j * k + at, count);
    for (std::size_t i = 0; i < kRows; ++i) {
      const Vector value = load(x + i * k + at, count);
      for (std::size_t j = 0; j < kColumns; ++j) sums[i][j] = at::vec::fmadd(value, weights[j], sums[i][j]);
    }
  };
  std::size_t at = 0;
  for (; at + kWidth <= k; at += kWidth) add(at, kWidth);
  if (at < k) add(at, k - at);
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t j = 0; j < kColumns; ++j) y[i * columns + j] = sum_of(sums[i][j]) + (b != nullptr ? b[j] : 0.0F);
  }
}

template <std::size_t kColumns>
void dot_columns(const float* x, const float* w, const float* b, float* y, std::size_t rows, std::size_t columns,
                 std::size_t k) {
  std::size_t i = 0;
  for (; i + kDotRows <= rows; i += kDotRows)
    dot_block<kDotRows, kColumns>(x + i * k, w, b, y + i * columns, columns, k);
  for (; i < rows; ++i) dot_block<1, kColumns>(x + i * k, w, b, y + i * columns, columns, k);
}

// Reads shared weights while others write them: the other side of the allowed data race. Not inlined, so that the
// stacks of ThreadSanitizer show the name that tests/tsan.supp suppresses.
[[gnu::noinline]] void racy_dot_products(const float* x, const float* w, const float* b, float* y, std::size_t rows,
                                         std::size_t columns, std::size_t k) {
  const auto bias_at = [b](std::size_t j) { return b != nullptr ? b + j : nullptr; };
  std::size_t j = 0;
  for (; j + kDotColumns <= columns; j += kDotColumns) {
    dot_columns<kDotColumns>(x, w + j * k, bias_at(j), y + j, rows, columns, k);
  }
  for (; j < columns; ++j) dot_columns<1>(x, w + j * k, bias_at(j), y + j, rows, columns, k);
}

/// kRows rows of c, and of their columns kVectors vectors; of the last vector `count` elements.
template <std::size_t kRows, std::size_t kVectors>
void sum_block(const Strided& a, const float* b, float alpha, bool adds, float* c, std::size_t n, std::size_t k,
               std::size_t count) {
  const auto count_of = [count](std::size_t v) { return v + 1 == kVectors ? count : kWidth; };
  Vector sums[kRows][kVectors];
  for (auto& row : sums) std::fill_n(row, kVectors, Vector(0.0F));
  for (std::size_t p = 0; p < k; ++p) {
    Vector values[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) values[v] = load(b + p * n + v * kWidth, count_of(v));
    for (std::size_t i = 0; i < kRows; ++i) {
      const Vector factor(a.data[i * a.row_stride + p * a.column_stride]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = at::vec::fmadd(factor, values[v], sums[i][v]);
    }
  }
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* const to = c + i * n + v * kWidth;
      const Vector before = adds ? load(to, count_of(v)) : Vector(0.0F);
      at::vec::fmadd(Vector(alpha), sums[i][v], before).store(to, static_cast<std::int16_t>(count_of(v)));
    }
  }
}

template <std::size_t kVectors>
void sum_columns(const Strided& a, const float* b, float alpha, bool adds, float* c, std::size_t m, std::size_t n,
                 std::size_t k, std::size_t count) {
  const auto rows_from = [&](std::size_t i) {
    return Strided{a.data + i * a.row_stride, a.row_stride, a.column_stride};
  };
  std::size_t i = 0;
  for (; i + kSumRows <= m; i += kSumRows) {
    sum_block<kSumRows, kVectors>(rows_from(i), b, alpha, adds, c + i * n, n, k, count);
  }
  for (; i < m; ++i) sum_block<1, kVectors>(rows_from(i), b, alpha, adds, c + i * n, n, k, count);
}

// The allowed data race of hogpen, when c is shared: see kernels/update.cpp. Not inlined for the same reason.
[[gnu::noinline]] void racy_add_products(const Strided& a, const float* b, float alpha, bool adds, float* c,
                                         std::size_t m, std::size_t n, std::size_t k) {
  constexpr std::size_t kColumns = kSumVectors * kWidth;
  std::size_t j = 0;
  for (; j + kColumns <= n; j += kColumns) sum_columns<kSumVectors>(a, b + j, alpha, adds, c + j, m, n, k, kWidth);
  for (; j < n; j += kWidth) sum_columns<1>(a, b + j, alpha, adds, c + j, m, n, k, std::min(kWidth, n - j));
}

/// Calls f(begin, count) for each vector of an array.
template <class F>
void for_each_vector(std::size_t n, const F& f) {
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, kWidth);
  if (i < n) f(i, n - i);
}

/// dy *= f(value).
template <class F>
void scale_vectors(const float* value, float* dy, std::size_t n, const F& f) {
  for_each_vector(n, [&](std::size_t i, std::size_t count) {
    (load(dy + i, count) * f(load(value + i, count))).store(dy + i, static_cast<std::int16_t>(count));
  });
}

/// The share of a standard normal distribution that lies below x.
Vector normal_cdf(const Vector& x) {
  return Vector(0.5F) * (Vector(1.0F) + (x * Vector(0.70710678F)).erf());
}

Vector normal_density(const Vector& x) {
  return Vector(0.39894228F) * (Vector(-0.5F) * x * x).exp();
}

void gelu(const float* x, float* y, std::size_t n) {
  for_each_vector(n, [&](std::size_t i, std::size_t count) {
    const Vector value = load(x + i, count);
    (value * normal_cdf(value)).store(y + i, static_cast<std::int16_t>(count));
  });
}

void activate_backward(Activation activation, const float* x, const float* y, float* dy, std::size_t n) {
  const Vector zero(0.0F);
  const Vector one(1.0F);
  switch (activation) {
    case Activation::relu:
      return scale_vectors(y, dy, n, [&](const Vector& v) { return Vector::blendv(zero, one, v > zero); });
    case Activation::tanh:
      return scale_vectors(y, dy, n, [&](const Vector& v) { return one - v * v; });
    case Activation::sigmoid:
      return scale_vectors(y, dy, n, [&](const Vector& v) { return v * (one - v); });
    case Activation::gelu:
      return scale_vectors(x, dy, n, [](const Vector& v) { return normal_cdf(v) + v * normal_density(v); });
  }
}

}  // namespace

const DenseLoops kDenseLoops = {racy_dot_products, racy_add_products, gelu, activate_backward};

}  // namespace hogpen::kernels::CPU_CAPABILITY
