// The parts of convolutions and pooling that move numbers about. See kernels/simd.h for how it is compiled.
#include "kernels/convolution_simd.h"

#include <algorithm>
#include <type_traits>

#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using Vector = FloatVector;
constexpr std::size_t kWidth = Vector::size();

/// Those of `windows` windows in a row, or in a column, whose tap lies on the image.
struct Range {
  std::size_t begin;
  std::size_t end;
};

Range on_image(const Windows& w, std::size_t tap, std::size_t windows, std::size_t side) {
  const auto windows_before = [&](std::size_t place) { return (place + w.stride - 1) / w.stride; };
  const std::size_t begin = tap < w.padding ? windows_before(w.padding - tap) : 0;
  const std::size_t end = side + w.padding > tap ? windows_before(side + w.padding - tap) : 0;
  const std::size_t last = end < windows ? end : windows;
  return {begin < last ? begin : last, last};
}

/// What one tap sees of an image, as far as windows have it there: of `rows` rows of windows `count` numbers each. One
/// row after the other they lie `columns` apart in the matrix of columns, and `pixels` apart in the image.
struct Block {
  std::size_t column;
  std::size_t pixel;
  std::size_t rows;
  std::size_t count;
  std::size_t columns;
  std::size_t pixels;
};

template <class F>
void for_each_block(const Windows& w, const F& f) {
  const std::size_t rows = w.rows();
  const std::size_t columns = w.columns();
  std::size_t of_tap = 0;
  for (std::size_t channel = 0; channel < w.channels; ++channel) {
    for (std::size_t ky = 0; ky < w.kernel; ++ky) {
      const Range y = on_image(w, ky, rows, w.height);
      const std::size_t pixel_row = channel * w.height + y.begin * w.stride + ky - w.padding;
      for (std::size_t kx = 0; kx < w.kernel; ++kx, of_tap += rows * columns) {
        const Range x = on_image(w, kx, columns, w.width);
        f(Block{.column = of_tap + y.begin * columns + x.begin,
                .pixel = pixel_row * w.width + x.begin * w.stride + kx - w.padding,
                .rows = y.end - y.begin,
                .count = x.end - x.begin,
                .columns = columns,
                .pixels = w.stride * w.width});
      }
    }
  }
}

/// Calls move(column, pixel, lanes) for one vector of numbers after the other. Down the image first: the number of rows
/// repeats from tap to tap, so that the CPU foresees where the loop ends, and the lanes stay what they are.
template <class Move>
void for_each_vector_of(const Block& block, const Move& move) {
  for_each_vector(block.count, [&](std::size_t i, const auto& lanes) {
    std::size_t column = block.column + i;
    std::size_t pixel = block.pixel + i;
    for (std::size_t row = 0; row < block.rows; ++row, column += block.columns, pixel += block.pixels) {
      move(column, pixel, lanes);
    }
  });
}

/// Calls move(column, pixel) for one number after the other.
template <class Move>
void for_each_number_of(const Block& block, std::size_t stride, const Move& move) {
  for (std::size_t row = 0; row < block.rows; ++row) {
    for (std::size_t i = 0; i < block.count; ++i) {
      move(block.column + row * block.columns + i, block.pixel + row * block.pixels + i * stride);
    }
  }
}

void gather_columns(const Windows& w, const float* x, float* columns) {
  if (w.padding > 0) std::fill_n(columns, w.taps() * w.positions(), 0.0F);
  for_each_block(w, [&](const Block& block) {
    if (w.stride == 1) {
      for_each_vector_of(block, [&](std::size_t column, std::size_t pixel, const auto& lanes) {
        lanes.store(lanes.load(x + pixel), columns + column);
      });
    } else {
      for_each_number_of(block, w.stride, [&](std::size_t column, std::size_t pixel) { columns[column] = x[pixel]; });
    }
  });
}

void scatter_columns(const Windows& w, const float* columns, float* dx) {
  for_each_block(w, [&](const Block& block) {
    if (w.stride == 1) {
      for_each_vector_of(block, [&](std::size_t column, std::size_t pixel, const auto& lanes) {
        lanes.store(lanes.load(dx + pixel) + lanes.load(columns + column), dx + pixel);
      });
    } else {
      for_each_number_of(block, w.stride, [&](std::size_t column, std::size_t pixel) { dx[pixel] += columns[column]; });
    }
  });
}

using Places = at::vec::Vectorized<std::int32_t>;

/// Calls f(load), where load(from) gives `count` numbers, every stride-th from `from`.
template <class F>
void with_strided_load(std::size_t stride, std::size_t count, const F& f) {
  if (stride == 1)
    return with_lanes(count, [&](const auto& lanes) { f([&](const float* x) { return lanes.load(x); }); });
  if (stride == 2) {
    const std::size_t all = 2 * count - 1;
    const FirstLanes low(std::min(all, kWidth));
    const FirstLanes high(all - std::min(all, kWidth));
    return f([&](const float* x) { return at::vec::deinterleave2(low.load(x), high.load(x + kWidth)).first; });
  }
  f([&](const float* x) {
    float numbers[kWidth] = {};
    for (std::size_t i = 0; i < count; ++i) numbers[i] = x[i * stride];
    return Vector::loadu(numbers);
  });
}

void max_pool_row(const Windows& w, const float* channel, std::int32_t first, float* y, std::int32_t* places) {
  for_each_vector(w.columns(), [&](std::size_t i, const auto& lanes) {
    const std::int32_t corner = first + static_cast<std::int32_t>(i * w.stride);
    with_strided_load(w.stride, std::min(kWidth, w.columns() - i), [&](const auto& load) {
      const float* const corner_pixel = channel + corner;
      Vector largest = load(corner_pixel);
      const Places corners = Places::arange(corner, static_cast<std::int32_t>(w.stride));
      Places place = corners;
      for (std::size_t ky = 0; ky < w.kernel; ++ky) {
        for (std::size_t kx = 0; kx < w.kernel; ++kx) {
          const std::size_t offset = ky * w.width + kx;
          const Vector value = load(corner_pixel + offset);
          const Vector is_larger = (value > largest) | (value != value);
          largest = Vector::blendv(largest, value, is_larger);
          place = Places::blendv(place, corners + Places(static_cast<std::int32_t>(offset)),
                                 at::vec::cast<std::int32_t>(is_larger));
        }
      }
      lanes.store(largest, y + i);
      lanes.store(at::vec::cast<float>(place), reinterpret_cast<float*>(places + i));
    });
  });
}

}  // namespace

const ConvolutionLoops kConvolutionLoops = {gather_columns, scatter_columns, max_pool_row};

}  // namespace hogpen::kernels::CPU_CAPABILITY
