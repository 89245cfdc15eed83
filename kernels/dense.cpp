#include "kernels/dense.h"

#include <algorithm>
#include <cmath>

#include "kernels/dense_simd.h"
#include "kernels/instruction_set.h"
#include "kernels/transform.h"

namespace hogpen::kernels {
namespace {

constexpr std::size_t kGroupBytes = std::size_t{256} << 10;  // half of the second-level cache of most CPUs
constexpr std::size_t kLeastGroupRows = 16;

/// Calls f(begin, count) for groups of the rows of x [rows, in] that stay in the cache of a core while the loops read
/// them again for every few columns of the weights.
template <class F>
void for_each_group(std::size_t rows, std::size_t in, const F& f) {
  const std::size_t most = std::max(kGroupBytes / (in * sizeof(float)), kLeastGroupRows);
  for (std::size_t begin = 0; begin < rows; begin += most) f(begin, std::min(most, rows - begin));
}

/// dw (+)= alpha dyᵀ x, and for the bias the same with a column of ones for x.
void weight_products(const float* dy, const float* x, float alpha, bool adds, float* dw, float* db, std::size_t rows,
                     std::size_t in, std::size_t out) {
  constexpr float kOne = 1.0F;
  for_each_group(rows, in, [&](std::size_t begin, std::size_t count) {
    const Strided left = {.data = dy + begin * out, .row_stride = 1, .column_stride = out};
    dense_loops().add_products(left, x + begin * in, alpha, adds || begin > 0, dw, out, in, count);
  });
  if (db == nullptr) return;
  dense_loops().add_products({.data = &kOne, .row_stride = 0, .column_stride = 0}, dy, alpha, adds, db, 1, out, rows);
}

}  // namespace

const DenseLoops& dense_loops() noexcept {
  return for_this_cpu(DEFAULT::kDenseLoops, AVX2::kDenseLoops, AVX512::kDenseLoops);
}

void linear_forward(const float* x, const float* w, const float* b, float* y, std::size_t rows, std::size_t in,
                    std::size_t out) {
  for_each_group(rows, in, [&](std::size_t begin, std::size_t count) {
    dense_loops().dot_products(x + begin * in, w, b, y + begin * out, count, out, in);
  });
}

void linear_backward_input(const float* dy, const float* w, float* dx, std::size_t rows, std::size_t in,
                           std::size_t out) {
  dense_loops().add_products({.data = dy, .row_stride = out, .column_stride = 1}, w, 1.0F, false, dx, rows, in, out);
}

void linear_backward_weight(const float* dy, const float* x, float* dw, float* db, std::size_t rows, std::size_t in,
                            std::size_t out) {
  weight_products(dy, x, 1.0F, false, dw, db, rows, in, out);
}

void linear_update(const float* dy, const float* x, double lr, float* w, float* b, std::size_t rows, std::size_t in,
                   std::size_t out) {
  weight_products(dy, x, static_cast<float>(-lr), true, w, b, rows, in, out);
}

void activation_forward(Activation activation, const float* x, float* y, std::size_t n) {
  const auto apply = [&](UnaryOp::Kind kind) {
    transform({.kind = kind}, c10::ScalarType::Float, x, y, n, Store::cached);
  };
  switch (activation) {
    case Activation::identity:
      if (x != y) std::copy_n(x, n, y);
      return;
    case Activation::relu:
      return apply(UnaryOp::Kind::relu);
    case Activation::tanh:
      return apply(UnaryOp::Kind::tanh);
    case Activation::sigmoid:
      return apply(UnaryOp::Kind::sigmoid);
    case Activation::gelu:
      return dense_loops().gelu(x, y, n);
  }
}

void activation_backward(Activation activation, const float* x, const float* y, float* dy, std::size_t n) {
  dense_loops().activate_backward(activation, x, y, dy, n);
}

double softmax_cross_entropy(float* logits, std::span<const std::int64_t> labels, std::size_t classes) {
  const std::size_t rows = labels.size();
  double loss = 0.0;
  for (std::size_t i = 0; i < rows; ++i) {
    float* const row = logits + i * classes;
    const float largest = *std::max_element(row, row + classes);
    for (std::size_t j = 0; j < classes; ++j) row[j] -= largest;
    loss -= row[labels[i]];
  }
  transform({.kind = UnaryOp::Kind::exp}, c10::ScalarType::Float, logits, logits, rows * classes, Store::cached);
  const float scale = 1.0F / static_cast<float>(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    float* const row = logits + i * classes;
    float sum = 0.0F;
    for (std::size_t j = 0; j < classes; ++j) sum += row[j];
    loss += std::log(static_cast<double>(sum));
    const float factor = scale / sum;
    for (std::size_t j = 0; j < classes; ++j) row[j] *= factor;
    row[labels[i]] -= scale;
  }
  return loss / static_cast<double>(rows);
}

}  // namespace hogpen::kernels
