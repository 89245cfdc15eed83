#pragma once

// The layers of dense_cuda.h as steps of a block: see kernels/dense_block.h.
#include "kernels/dense_block.h"

namespace hogpen::kernels::detail {

C10_HOST_DEVICE inline float activate(Activation activation, float z) {
  switch (activation) {
    case Activation::identity:
      return z;
    case Activation::relu:
      return z < 0.0F ? 0.0F : z;  // a NaN stays one
    case Activation::tanh:
      return std::tanh(z);
    case Activation::sigmoid: {
      const float e = std::exp(-std::fabs(z));
      return (z < 0.0F ? e : 1.0F) / (1.0F + e);
    }
    case Activation::gelu:
      return 0.5F * z * (1.0F + std::erf(z * 0x1.6a09e6p-1F));
  }
  return z;
}

/// f'(z), where y = f(z).
C10_HOST_DEVICE inline float slope(Activation activation, const float* z, const float* y, std::size_t i) {
  switch (activation) {
    case Activation::identity:
      return 1.0F;
    case Activation::relu:
      return y[i] > 0.0F ? 1.0F : 0.0F;
    case Activation::tanh:
      return 1.0F - y[i] * y[i];
    case Activation::sigmoid:
      return y[i] * (1.0F - y[i]);
    case Activation::gelu: {
      const float x = z[i];
      const float density = 0x1.988454p-2F * std::exp(-0.5F * x * x);  // of the normal distribution
      return 0.5F * (1.0F + std::erf(x * 0x1.6a09e6p-1F)) + x * density;
    }
  }
  return 1.0F;
}

struct LinearForward {
  DenseInput x;
  const float* w;
  const float* b;
  Activated y;
  DenseShape shape;

  [[nodiscard]] C10_HOST_DEVICE Product product() const { return {shape.rows, shape.out, shape.in, 0, 0}; }
  template <int kGroups, class Block>
  C10_HOST_DEVICE void run(Block& block, Tiles<kGroups>& tiles, const Product& p) const {
    multiply(block, tiles, p, InputRows{x, shape.in}, Rows{w, shape.in},
             [&](std::size_t row, std::size_t column, float sum) {
               const float z = b != nullptr ? sum + b[column] : sum;
               const std::size_t i = row * shape.out + column;
               if (y.z != nullptr) y.z[i] = z;
               y.y[i] = activate(y.activation, z);
             });
  }
};

struct LinearBackwardInput {
  const float* dy;
  const float* w;
  Activated x;
  float* dz;
  DenseShape shape;

  [[nodiscard]] C10_HOST_DEVICE Product product() const { return {shape.rows, shape.in, shape.out, 0, 0}; }
  template <int kGroups, class Block>
  C10_HOST_DEVICE void run(Block& block, Tiles<kGroups>& tiles, const Product& p) const {
    multiply(block, tiles, p, Rows{dy, shape.out}, Columns{w, shape.in},
             [&](std::size_t row, std::size_t column, float sum) {
               const std::size_t i = row * shape.in + column;
               dz[i] = sum * slope(x.activation, x.z, x.y, i);
             });
  }
};

struct LinearBackwardWeight {
  const float* dy;
  DenseInput x;
  float* dw;
  float* db;
  DenseShape shape;

  [[nodiscard]] C10_HOST_DEVICE Product product() const {
    return {shape.out, shape.in + (db != nullptr ? 1 : 0), shape.rows, 0, 0};
  }
  template <int kGroups, class Block>
  C10_HOST_DEVICE void run(Block& block, Tiles<kGroups>& tiles, const Product& p) const {
    multiply(block, tiles, p, Columns{dy, shape.out}, InputColumnsAndOnes{x, shape.in},
             [&](std::size_t row, std::size_t column, float sum) {
               if (column < shape.in) {
                 dw[row * shape.in + column] = sum;
               } else {
                 db[row] = sum;
               }
             });
  }
};

/// One block does it for all rows, a thread each.
struct SoftmaxCrossEntropy {
  float* logits;
  const std::uint8_t* labels;
  const std::uint32_t* samples;
  float* loss;
  std::size_t rows;
  std::size_t classes;

  /// Makes a row its gradient; returns its loss.
  [[nodiscard]] C10_HOST_DEVICE double differentiate(std::size_t row) const {
    float* const z = logits + row * classes;
    const std::size_t label = labels[samples != nullptr ? samples[row] : row];
    float largest = z[0];
    for (std::size_t j = 1; j < classes; ++j) largest = std::fmax(largest, z[j]);
    const float of_label = z[label] - largest;
    float sum = 0.0F;
    for (std::size_t j = 0; j < classes; ++j) sum += z[j] = std::exp(z[j] - largest);
    const float scale = 1.0F / static_cast<float>(rows);
    for (std::size_t j = 0; j < classes; ++j) z[j] *= scale / sum;
    z[label] -= scale;
    return std::log(static_cast<double>(sum)) - of_label;
  }

  template <class Block>
  C10_HOST_DEVICE void run(Block& block, double (&losses)[kGroupThreads]) const {
    block.each([&](int thread) {
      losses[thread] = 0.0;
      for (std::size_t row = thread; row < rows; row += kGroupThreads) losses[thread] += differentiate(row);
    });
    for (int half = kGroupThreads / 2; half > 0; half /= 2) {
      block.each([&](int thread) {
        if (thread < half) losses[thread] += losses[thread + half];
      });
    }
    block.each([&](int thread) {
      if (thread == 0) *loss = static_cast<float>(losses[0] / static_cast<double>(rows));
    });
  }
};

}  // namespace hogpen::kernels::detail
