#pragma once

// The layers of dense_cuda.h as steps of a block: see kernels/product_block.h.
#include "kernels/activated_block.h"
#include "kernels/product_block.h"

namespace hogpen::kernels::detail {

struct InputRows {
  static constexpr bool kTermsAreNeighbours = true;
  LayerInput x;
  std::size_t width;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const { return element(x, i, term, width); }
};

/// The columns of an input, and behind the last one a column of ones.
struct InputColumnsAndOnes {
  static constexpr bool kTermsAreNeighbours = false;
  LayerInput x;
  std::size_t width;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const {
    return i < width ? element(x, term, i, width) : 1.0F;
  }
};

C10_HOST_DEVICE inline Product product(const LinearForward& layer) {
  return {layer.shape.rows, layer.shape.out, layer.shape.in};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const LinearForward& layer, Block& block, Tiles<kGroups>& tiles, const Product& p) {
  const DenseShape& shape = layer.shape;
  multiply(block, tiles, p, InputRows{layer.x, shape.in}, Rows{layer.w, shape.in},
           [&](std::size_t row, std::size_t column, float sum) {
             store(layer.y, row * shape.out + column, layer.b != nullptr ? sum + layer.b[column] : sum);
           });
}

C10_HOST_DEVICE inline Product product(const LinearBackwardInput& layer) {
  return {layer.shape.rows, layer.shape.in, layer.shape.out};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const LinearBackwardInput& layer, Block& block, Tiles<kGroups>& tiles, const Product& p) {
  const DenseShape& shape = layer.shape;
  multiply(block, tiles, p, Rows{layer.dy, shape.out}, Columns{layer.w, shape.in},
           [&](std::size_t row, std::size_t column, float sum) {
             const std::size_t i = row * shape.in + column;
             layer.dz[i] = sum * slope(layer.x, i);
           });
}

C10_HOST_DEVICE inline Product product(const LinearBackwardWeight& layer) {
  return {layer.shape.out, layer.shape.in + (layer.db != nullptr ? 1 : 0), layer.shape.rows};
}
template <int kGroups, class Block>
C10_HOST_DEVICE void run(const LinearBackwardWeight& layer, Block& block, Tiles<kGroups>& tiles, const Product& p) {
  const DenseShape& shape = layer.shape;
  multiply(block, tiles, p, Columns{layer.dy, shape.out}, InputColumnsAndOnes{layer.x, shape.in},
           [&](std::size_t row, std::size_t column, float sum) {
             float& gradient = column < shape.in ? layer.dw[row * shape.in + column] : layer.db[row];
             gradient = sum;
           });
}

/// Makes a row of logits its gradient; returns its loss.
[[nodiscard]] C10_HOST_DEVICE inline double differentiate(const SoftmaxCrossEntropy& layer, std::size_t row) {
  float* const z = layer.logits + row * layer.classes;
  const std::size_t label = layer.labels[layer.samples != nullptr ? layer.samples[row] : row];
  float largest = z[0];
  for (std::size_t j = 1; j < layer.classes; ++j) largest = std::fmax(largest, z[j]);
  const float of_label = z[label] - largest;
  float sum = 0.0F;
  for (std::size_t j = 0; j < layer.classes; ++j) sum += z[j] = std::exp(z[j] - largest);
  const float scale = 1.0F / static_cast<float>(layer.rows);
  for (std::size_t j = 0; j < layer.classes; ++j) z[j] *= scale / sum;
  z[label] -= scale;
  return std::log(static_cast<double>(sum)) - of_label;
}

/// One block does it for all rows, a thread each.
template <class Block>
C10_HOST_DEVICE void run(const SoftmaxCrossEntropy& layer, Block& block, double (&losses)[kGroupThreads]) {
  block.each([&](int thread) {
    losses[thread] = 0.0;
    for (std::size_t row = thread; row < layer.rows; row += kGroupThreads) losses[thread] += differentiate(layer, row);
  });
  for (int half = kGroupThreads / 2; half > 0; half /= 2) {
    block.each([&](int thread) {
      if (thread < half) losses[thread] += losses[thread + half];
    });
  }
  block.each([&](int thread) {
    if (thread == 0) *layer.loss = static_cast<float>(losses[0] / static_cast<double>(layer.rows));
  });
}

}  // namespace hogpen::kernels::detail
