#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"

struct CUstream_st;

/// The layers of dense.h on the GPU, asynchronous on `stream` (a cudaStream_t; null is the default stream), and to be
/// captured in a CUDA graph. An activation is computed with the layer before it, and a batch is made where it is read.
///
/// Shapes: as dense.h. Device: all is memory of the current device, but `samples` and `labels`, which may also be
/// page-locked memory of the host. Accuracy: float32, products added in another order than on the CPU.
/// Throws: std::runtime_error with CUDA's own text when a launch fails, or when hogpen was built without CUDA.
namespace hogpen::kernels {

/// x [rows, in]: `values`; or, where that is null, pixels[samples[row], column] * scale + shift, with the rows of
/// `pixels` themselves where `samples` is null.
struct DenseInput {
  const float* values = nullptr;
  const std::uint8_t* pixels = nullptr;
  const std::uint32_t* samples = nullptr;
  float scale = 1.0F;
  float shift = 0.0F;
};

struct DenseShape {
  std::size_t rows = 0;
  std::size_t in = 0;
  std::size_t out = 0;
};

/// What f an activation y = f(z) is, and the numbers from which its slope is known.
struct Activated {
  Activation activation = Activation::identity;
  float* z = nullptr;  ///< for gelu alone
  float* y = nullptr;
};

/// y = f(x wᵀ + b), and what stood in f. `b` may be null.
void linear_forward_cuda(const DenseInput& x, const float* w, const float* b, const Activated& y,
                         const DenseShape& shape, CUstream_st* stream);

/// dz = dy w * f'(z), where x = f(z) is what the layer before computed.
void linear_backward_input_cuda(const float* dy, const float* w, const Activated& x, float* dz, const DenseShape& shape,
                                CUstream_st* stream);

/// dw = dyᵀ x and db = the sum of dy's rows. `db` may be null.
void linear_backward_weight_cuda(const float* dy, const DenseInput& x, float* dw, float* db, const DenseShape& shape,
                                 CUstream_st* stream);

/// `loss` [1] is the mean cross-entropy of softmax(logits) and the labels, a byte each: labels[samples[row]], or
/// labels[row] where `samples` is null. `logits` [rows, classes] becomes its gradient.
///
/// Requires: rows > 0; labels in [0, classes).
void softmax_cross_entropy_cuda(float* logits, const std::uint8_t* labels, const std::uint32_t* samples, float* loss,
                                std::size_t rows, std::size_t classes, CUstream_st* stream);

}  // namespace hogpen::kernels
