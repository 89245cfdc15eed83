#pragma once

#include <c10/macros/Macros.h>

#include <cstddef>
#include <cstdint>

/// Layers of a convolutional network on raw memory: forward, and backward from the gradient of their output.
///
/// Shapes: images are [n, channels, height, width] without gaps; w [out, channels, kernel, kernel], b [out], as in
/// torch.nn.Conv2d; dx, dw, db, dy are gradients of the same shapes as x, w, b, y.
/// Dtypes: float32. Accuracy: products are summed in another order than LibTorch's, each with one rounding.
/// Sharing: w and b may be shared memory that other workers update at the same time; the rest is the caller's own.
/// Requires: pointers aligned to 4 bytes; what is written overlaps nothing else; kernel <= height + 2 padding and
/// kernel <= width + 2 padding.
namespace hogpen::kernels {

/// Square windows that move over an image, beyond whose edges lie `padding` rows and columns of zeros.
///
/// Sharing: a value.
struct Windows {
  std::size_t channels = 1;
  std::size_t height = 1;
  std::size_t width = 1;
  std::size_t kernel = 1;
  std::size_t stride = 1;
  std::size_t padding = 0;

  [[nodiscard]] C10_HOST_DEVICE std::size_t rows() const noexcept {
    return (height + 2 * padding - kernel) / stride + 1;
  }
  [[nodiscard]] C10_HOST_DEVICE std::size_t columns() const noexcept {
    return (width + 2 * padding - kernel) / stride + 1;
  }
  [[nodiscard]] C10_HOST_DEVICE std::size_t positions() const noexcept { return rows() * columns(); }
  /// What a window sees: the numbers that a convolution weighs.
  [[nodiscard]] C10_HOST_DEVICE std::size_t taps() const noexcept { return channels * kernel * kernel; }
  [[nodiscard]] C10_HOST_DEVICE std::size_t pixels() const noexcept { return channels * height * width; }
};

/// How many floats the scratch of the functions below must hold.
[[nodiscard]] std::size_t convolution_scratch(const Windows& windows, std::size_t out) noexcept;

/// y [n, out, rows, columns]. `b` may be null.
void convolution_forward(const Windows& windows, const float* x, const float* w, const float* b, float* y,
                         std::size_t n, std::size_t out, float* scratch);

void convolution_backward_input(const Windows& windows, const float* dy, const float* w, float* dx, std::size_t n,
                                std::size_t out, float* scratch);

/// `db` may be null.
void convolution_backward_weight(const Windows& windows, const float* dy, const float* x, float* dw, float* db,
                                 std::size_t n, std::size_t out, float* scratch);

/// The largest number of each window, y [n, channels, rows, columns], and its place in its image of one channel, [same
/// shape as y]. Of equal ones the first counts, and NaN counts as the largest, as in torch.nn.MaxPool2d.
///
/// Requires: no padding; an image of less than 2³¹ pixels.
void max_pool_forward(const Windows& windows, const float* x, float* y, std::int32_t* places, std::size_t n);

void max_pool_backward(const Windows& windows, const float* dy, const std::int32_t* places, float* dx, std::size_t n);

}  // namespace hogpen::kernels
