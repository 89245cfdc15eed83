// Matrix products of the sizes that small networks have, without packing: each block of results stays in registers
// while the operands stream from the cache. See kernels/simd.h for how it is compiled.
#include "kernels/dense_simd.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using Vector = FloatVector;
constexpr std::size_t kWidth = Vector::size();

// The largest blocks. A block's results and operands must fit the registers: 32 vectors with AVX-512, else 16.
#if defined(CPU_CAPABILITY_AVX512)
constexpr std::size_t kDotColumns = 4;
constexpr std::size_t kSumRows = 8;
#else
constexpr std::size_t kDotColumns = 3;
constexpr std::size_t kSumRows = 6;
#endif
constexpr std::size_t kDotRows = 4;
constexpr std::size_t kSumVectors = 3;

/// Rows of a block of so many vectors.
constexpr std::size_t sum_rows(std::size_t vectors) {
  return kSumRows == 6 && vectors == 3 ? 4 : kSumRows;
}

/// Calls f(size), with the size as a constant; at most kMost.
template <std::size_t kMost, class F>
void with_constant(std::size_t size, const F& f) {
  if constexpr (kMost > 1) {
    if (size != kMost) return with_constant<kMost - 1>(size, f);
  }
  f(std::integral_constant<std::size_t, kMost>());
}

/// Calls f(begin, size) for as few blocks of [0, n) as there can be, of nearly equal sizes: a block much smaller than
/// the largest waits for its sums instead of for the multipliers.
template <std::size_t kMost, class F>
void for_each_block(std::size_t n, const F& f) {
  const std::size_t blocks = (n + kMost - 1) / kMost;
  const std::size_t size = n / blocks;
  const std::size_t larger = n % blocks;
  for (std::size_t i = 0, begin = 0; i < blocks; ++i) {
    const std::size_t count = size + (i < larger ? 1 : 0);
    with_constant<kMost>(count, [&](auto constant) { f(begin, constant); });
    begin += count;
  }
}

float sum_of(const Vector& v) {
#if defined(CPU_CAPABILITY_AVX512)
  return _mm512_reduce_add_ps(v);
#elif defined(CPU_CAPABILITY_AVX2)
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float lanes[kWidth];
  v.store(lanes);
  for (std::size_t half = kWidth / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
#endif
}

/// kRows rows of x times kColumns rows of w.
template <std::size_t kRows, std::size_t kColumns>
void dot_block(const float* x, const float* w, const float* b, float* y, std::size_t columns, std::size_t k) {
  Vector sums[kRows][kColumns];
  for (auto& row : sums) std::fill_n(row, kColumns, Vector(0.0F));
  for_each_vector(k, [&](std::size_t at, const auto& lanes) {
    Vector weights[kColumns];
    for (std::size_t j = 0; j < kColumns; ++j) weights[j] = lanes.load(w + j * k + at);
    for (std::size_t i = 0; i < kRows; ++i) {
      const Vector value = lanes.load(x + i * k + at);
      for (std::size_t j = 0; j < kColumns; ++j) sums[i][j] = at::vec::fmadd(value, weights[j], sums[i][j]);
    }
  });
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t j = 0; j < kColumns; ++j) y[i * columns + j] = sum_of(sums[i][j]) + (b != nullptr ? b[j] : 0.0F);
  }
}

// Its reads of w and b race with other workers' updates: see kernels/update.cpp. Not inlined for the same reason.
[[gnu::noinline]] void racy_dot_products(const float* x, const float* w, const float* b, float* y, std::size_t rows,
                                         std::size_t columns, std::size_t k) {
  for_each_block<kDotColumns>(columns, [&](std::size_t j, auto column_count) {
    const float* const bias = b != nullptr ? b + j : nullptr;
    for_each_block<kDotRows>(rows, [&](std::size_t i, auto row_count) {
      dot_block<row_count(), column_count()>(x + i * k, w + j * k, bias, y + i * columns + j, columns, k);
    });
  });
}

/// kRows rows of c, and of their columns kVectors vectors; of the last vector some lanes.
template <std::size_t kRows, std::size_t kVectors, class Lanes>
void sum_block(const Strided& a, const float* b, float alpha, bool adds, float* c, std::size_t n, std::size_t k,
               const Lanes& last_lanes) {
  const auto load = [&](const float* row, std::size_t v) {
    return v + 1 < kVectors ? Vector::loadu(row + v * kWidth) : last_lanes.load(row + v * kWidth);
  };
  // Of shared memory, what is added to lies in the cache of the worker that wrote it last: it comes while the sums are
  // made.
  for (std::size_t i = 0; adds && i < kRows; ++i) {
    for (std::size_t v = 0; v < kVectors; ++v) __builtin_prefetch(c + i * n + v * kWidth, 1);
  }
  Vector sums[kRows][kVectors];
  for (auto& row : sums) std::fill_n(row, kVectors, Vector(0.0F));
  for (std::size_t p = 0; p < k; ++p) {
    Vector values[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) values[v] = load(b + p * n, v);
    for (std::size_t i = 0; i < kRows; ++i) {
      const Vector factor(a.data[i * a.row_stride + p * a.column_stride]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = at::vec::fmadd(factor, values[v], sums[i][v]);
    }
  }
  for (std::size_t i = 0; i < kRows; ++i) {
    float* const row = c + i * n;
    for (std::size_t v = 0; v < kVectors; ++v) {
      const Vector sum = at::vec::fmadd(Vector(alpha), sums[i][v], adds ? load(row, v) : Vector(0.0F));
      v + 1 < kVectors ? sum.store(row + v * kWidth) : last_lanes.store(sum, row + v * kWidth);
    }
  }
}

// The allowed data race of hogpen, when c is shared: see kernels/update.cpp. Not inlined for the same reason.
[[gnu::noinline]] void racy_add_products(const Strided& a, const float* b, float alpha, bool adds, float* c,
                                         std::size_t m, std::size_t n, std::size_t k) {
  for_each_block<kSumVectors>((n + kWidth - 1) / kWidth, [&](std::size_t vector, auto vectors) {
    const std::size_t j = vector * kWidth;
    for_each_block<sum_rows(vectors())>(m, [&](std::size_t i, auto rows) {
      const Strided left = {a.data + i * a.row_stride, a.row_stride, a.column_stride};
      with_lanes(std::min(kWidth, n - j - (vectors() - 1) * kWidth), [&](const auto& lanes) {
        sum_block<rows(), vectors()>(left, b + j, alpha, adds, c + i * n + j, n, k, lanes);
      });
    });
  });
}

/// dy *= f(value).
template <class F>
void scale_vectors(const float* value, float* dy, std::size_t n, const F& f) {
  for_each_vector(
      n, [&](std::size_t i, const auto& lanes) { lanes.store(lanes.load(dy + i) * f(lanes.load(value + i)), dy + i); });
}

/// The share of a standard normal distribution that lies below x.
Vector normal_cdf(const Vector& x) {
  return Vector(0.5F) * (Vector(1.0F) + (x * Vector(0.70710678F)).erf());
}

Vector normal_density(const Vector& x) {
  return Vector(0.39894228F) * (Vector(-0.5F) * x * x).exp();
}

void gelu(const float* x, float* y, std::size_t n) {
  for_each_vector(n, [&](std::size_t i, const auto& lanes) {
    const Vector value = lanes.load(x + i);
    lanes.store(value * normal_cdf(value), y + i);
  });
}

void activate_backward(Activation activation, const float* x, const float* y, float* dy, std::size_t n) {
  const Vector zero(0.0F);
  const Vector one(1.0F);
  switch (activation) {
    case Activation::identity:
      return;
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
