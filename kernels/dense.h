#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/activation.h"

/// Layers of a dense network on raw memory: forward, and backward from the gradient of their output.
///
/// Shapes: matrices are row-major without gaps; x [rows, in], w [out, in], b [out], y [rows, out], as in
/// torch.nn.Linear; dx, dw, db, dy are gradients of the same shapes.
/// Dtypes: float32. Accuracy: products are summed in another order than LibTorch's, each with one rounding.
/// Sharing: w and b may be shared memory that other workers update at the same time; the rest is the caller's own.
/// Requires: pointers aligned to 4 bytes; what is written overlaps nothing else.
namespace hogpen::kernels {

/// y = x wᵀ + b. `b` may be null.
void linear_forward(const float* x, const float* w, const float* b, float* y, std::size_t rows, std::size_t in,
                    std::size_t out);

/// dx = dy w.
void linear_backward_input(const float* dy, const float* w, float* dx, std::size_t rows, std::size_t in,
                           std::size_t out);

/// dw = dyᵀ x and db = the sum of dy's rows. `db` may be null.
void linear_backward_weight(const float* dy, const float* x, float* dw, float* db, std::size_t rows, std::size_t in,
                            std::size_t out);

/// w -= lr dyᵀ x and b -= lr * the sum of dy's rows: a step of plain SGD without a gradient in between. `b` may be
/// null.
///
/// Sharing: the allowed data race of hogpen (kernels/update.cpp), with ordinary stores: a concurrent update of the same
/// element may be lost.
void linear_update(const float* dy, const float* x, double lr, float* w, float* b, std::size_t rows, std::size_t in,
                   std::size_t out);

/// y = f(x), elementwise. x and y may be the same but for gelu, whose backward pass needs x.
///
/// Accuracy: relu, tanh, sigmoid as in kernels/transform.h; gelu by erf, as torch.nn.GELU's default.
void activation_forward(Activation activation, const float* x, float* y, std::size_t n);

/// dy *= f'(x), from y = f(x); x is read for gelu alone.
void activation_backward(Activation activation, const float* x, const float* y, float* dy, std::size_t n);

/// The mean cross-entropy of softmax(logits) and the labels; `logits` [rows, classes] becomes its gradient.
///
/// Requires: rows > 0; labels in [0, classes).
double softmax_cross_entropy(float* logits, std::span<const std::int64_t> labels, std::size_t classes);

}  // namespace hogpen::kernels
