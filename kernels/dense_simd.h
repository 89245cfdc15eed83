#pragma once

#include "kernels/dense.h"

namespace hogpen::kernels {

/// A matrix by its strides, in elements.
struct Strided {
  const float* data;
  std::size_t row_stride;
  std::size_t column_stride;
};

struct DenseLoops {
  /// y[i, j] = b[j] + the product of row i of x [rows, k] and row j of w [columns, k]. `b` may be null.
  void (*dot_products)(const float* x, const float* w, const float* b, float* y, std::size_t rows, std::size_t columns,
                       std::size_t k);
  /// c[m, n] = alpha a[m, k] b[k, n], or that added to c.
  void (*add_products)(const Strided& a, const float* b, float alpha, bool adds, float* c, std::size_t m, std::size_t n,
                       std::size_t k);
  void (*gelu)(const float* x, float* y, std::size_t n);
  void (*activate_backward)(Activation activation, const float* x, const float* y, float* dy, std::size_t n);
};

/// Those of this CPU.
[[nodiscard]] const DenseLoops& dense_loops() noexcept;

// One for each instruction set that dense_simd.cpp is compiled for.
namespace DEFAULT {
extern const DenseLoops kDenseLoops;
}
namespace AVX2 {
extern const DenseLoops kDenseLoops;
}
namespace AVX512 {
extern const DenseLoops kDenseLoops;
}

}  // namespace hogpen::kernels
