#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/convolution.h"

namespace hogpen::kernels {

/// What kernels/convolution.h computes, said plainly for one image, in double.
///
/// Sharing: a value.
struct ConvolutionReference {
  Windows windows;
  std::size_t out = 1;

  /// Calls f(y, w, x) with the indices of each product of the convolution, in y [out, rows, columns],
  /// w [out, channels, kernel, kernel] and x [channels, height, width].
  template <class F>
  void for_each_product(const F& f) const {
    const Windows& v = windows;
    for (std::size_t o = 0; o < out; ++o) {
      for (std::size_t row = 0; row < v.rows(); ++row) {
        for (std::size_t column = 0; column < v.columns(); ++column) {
          for (std::size_t tap = 0; tap < v.taps(); ++tap) {
            const std::size_t channel = tap / (v.kernel * v.kernel);
            // Too large a number where the window lies beyond the upper or left edge.
            const std::size_t y = row * v.stride + tap / v.kernel % v.kernel - v.padding;
            const std::size_t x = column * v.stride + tap % v.kernel - v.padding;
            if (y >= v.height || x >= v.width) continue;
            f((o * v.rows() + row) * v.columns() + column, o * v.taps() + tap, (channel * v.height + y) * v.width + x);
          }
        }
      }
    }
  }

  [[nodiscard]] std::vector<double> forward(const std::vector<double>& x, const std::vector<double>& w,
                                            const std::vector<double>& b) const {
    std::vector<double> y(out * windows.positions());
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = b[i / windows.positions()];
    for_each_product([&](std::size_t iy, std::size_t iw, std::size_t ix) { y[iy] += w[iw] * x[ix]; });
    return y;
  }

  struct Gradients {
    std::vector<double> x;
    std::vector<double> w;
    std::vector<double> b;
  };
  [[nodiscard]] Gradients backward(const std::vector<double>& x, const std::vector<double>& w,
                                   const std::vector<double>& dy) const {
    Gradients d{std::vector<double>(x.size()), std::vector<double>(w.size()), std::vector<double>(out)};
    for_each_product([&](std::size_t iy, std::size_t iw, std::size_t ix) {
      d.x[ix] += w[iw] * dy[iy];
      d.w[iw] += x[ix] * dy[iy];
    });
    for (std::size_t i = 0; i < dy.size(); ++i) d.b[i / windows.positions()] += dy[i];
    return d;
  }
};

}  // namespace hogpen::kernels
