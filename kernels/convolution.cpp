#include "kernels/convolution.h"

#include <algorithm>

#include "kernels/convolution_simd.h"
#include "kernels/dense_simd.h"
#include "kernels/instruction_set.h"

namespace hogpen::kernels {
namespace {

const ConvolutionLoops& loops() {
  return for_this_cpu(DEFAULT::kConvolutionLoops, AVX2::kConvolutionLoops, AVX512::kConvolutionLoops);
}

/// Rows of vectors that are full need no masks.
std::size_t padded(std::size_t out) {
  constexpr std::size_t kVector = 8;
  return (out + kVector - 1) / kVector * kVector;
}

std::size_t columns_size(const Windows& w) {
  return w.taps() * w.positions();
}

/// The scratch of one image at a time, so that it stays in the cache.
///
/// Sharing: a view of the caller's scratch.
struct Scratch {
  Scratch(const Windows& w, std::size_t out, float* scratch)
      : columns(scratch),
        ones(columns + columns_size(w)),
        dy_turned(ones + w.positions()),
        dw_turned(dy_turned + w.positions() * padded(out)) {}

  float* columns;    // [taps, positions]
  float* ones;       // [positions]: what the bias sees, one row more of the columns
  float* dy_turned;  // [positions, padded(out)]
  float* dw_turned;  // [taps, padded(out)], and a row for the bias
};

}  // namespace

std::size_t convolution_scratch(const Windows& w, std::size_t out) noexcept {
  return columns_size(w) + w.positions() * (1 + padded(out)) + (w.taps() + 1) * padded(out);
}

void convolution_forward(const Windows& windows, const float* x, const float* w, const float* b, float* y,
                         std::size_t n, std::size_t out, float* scratch) {
  const Scratch s(windows, out, scratch);
  const std::size_t taps = windows.taps();
  const std::size_t positions = windows.positions();
  std::fill_n(s.ones, positions, 1.0F);
  for (std::size_t i = 0; i < n; ++i, x += windows.pixels(), y += out * positions) {
    loops().gather_columns(windows, x, s.columns);
    if (b != nullptr) dense_loops().add_products({b, 1, 0}, s.ones, 1.0F, false, y, out, positions, 1);
    dense_loops().add_products({w, taps, 1}, s.columns, 1.0F, b != nullptr, y, out, positions, taps);
  }
}

void convolution_backward_input(const Windows& windows, const float* dy, const float* w, float* dx, std::size_t n,
                                std::size_t out, float* scratch) {
  const Scratch s(windows, out, scratch);
  const std::size_t taps = windows.taps();
  const std::size_t positions = windows.positions();
  std::fill_n(dx, n * windows.pixels(), 0.0F);
  for (std::size_t i = 0; i < n; ++i, dy += out * positions, dx += windows.pixels()) {
    dense_loops().add_products({w, 1, taps}, dy, 1.0F, false, s.columns, taps, positions, out);
    loops().scatter_columns(windows, s.columns, dx);
  }
}

// By dwᵀ = columns dyᵀ rather than by dw = dy columnsᵀ: the latter are products of rows, whose sums over the lanes of a
// vector cost more than the few products of a small image.
void convolution_backward_weight(const Windows& windows, const float* dy, const float* x, float* dw, float* db,
                                 std::size_t n, std::size_t out, float* scratch) {
  const Scratch s(windows, out, scratch);
  const std::size_t taps = windows.taps();
  const std::size_t positions = windows.positions();
  const std::size_t wide = padded(out);
  std::fill_n(s.ones, positions, 1.0F);
  std::fill_n(s.dy_turned, positions * wide, 0.0F);
  std::fill_n(s.dw_turned, (taps + 1) * wide, 0.0F);
  for (std::size_t i = 0; i < n; ++i, dy += out * positions, x += windows.pixels()) {
    loops().gather_columns(windows, x, s.columns);
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t j = 0; j < out; ++j) s.dy_turned[p * wide + j] = dy[j * positions + p];
    }
    dense_loops().add_products({s.columns, positions, 1}, s.dy_turned, 1.0F, true, s.dw_turned, taps + 1, wide,
                               positions);
  }
  for (std::size_t j = 0; j < out; ++j) {
    for (std::size_t k = 0; k < taps; ++k) dw[j * taps + k] = s.dw_turned[k * wide + j];
  }
  if (db != nullptr) std::copy_n(s.dw_turned + taps * wide, out, db);
}

void max_pool_forward(const Windows& windows, const float* x, float* y, std::int32_t* places, std::size_t n) {
  const std::size_t columns = windows.columns();
  for (std::size_t i = 0; i < n * windows.channels; ++i, x += windows.height * windows.width) {
    for (std::size_t row = 0; row < windows.rows(); ++row, y += columns, places += columns) {
      const auto first = static_cast<std::int32_t>(row * windows.stride * windows.width);
      loops().max_pool_row(windows, x, first, y, places);
    }
  }
}

void max_pool_backward(const Windows& windows, const float* dy, const std::int32_t* places, float* dx, std::size_t n) {
  const std::size_t positions = windows.positions();
  std::fill_n(dx, n * windows.pixels(), 0.0F);
  for (std::size_t i = 0; i < n * windows.channels; ++i, dx += windows.height * windows.width) {
    for (std::size_t p = 0; p < positions; ++p) dx[*places++] += *dy++;
  }
}

}  // namespace hogpen::kernels
