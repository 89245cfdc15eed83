#include "kernels/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/max_pool2d_with_indices.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <tuple>
#include <vector>

#include "kernels/convolution_reference.h"
#include "kernels/convolution_simd.h"
#include "kernels/instruction_set.h"
#include "tests/kernels/random_numbers.h"

namespace hogpen::kernels {

// What gtest prints of a parameter.
std::ostream& operator<<(std::ostream& out, const Windows& w) {
  return out << w.channels << "x" << w.height << "x" << w.width << " kernel " << w.kernel << " stride " << w.stride
             << " padding " << w.padding;
}

namespace {

std::vector<double> widened(const std::vector<float>& values, std::size_t begin, std::size_t count) {
  return {values.begin() + static_cast<std::ptrdiff_t>(begin),
          values.begin() + static_cast<std::ptrdiff_t>(begin + count)};
}

std::vector<double> widened(const std::vector<float>& values) {
  return widened(values, 0, values.size());
}

/// The largest difference, from `begin` of `ours` on.
double difference(const std::vector<float>& ours, std::size_t begin, const std::vector<double>& wanted) {
  double largest = 0.0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(ours[begin + i]) - wanted[i]));
  }
  return largest;
}

/// A layer of random numbers: n images, the parameters and the gradient of the output.
struct Layer {
  Layer(const Windows& windows, std::size_t out_channels, std::size_t images)
      : v(windows),
        out(out_channels),
        n(images),
        x(random.numbers(n * v.pixels())),
        w(random.numbers(out * v.taps())),
        b(random.numbers(out)),
        dy(random.numbers(n * out * v.positions())),
        y(dy.size() + 1, kGuard),
        dx(x.size() + 1, kGuard),
        dw(w.size() + 1, kGuard),
        db(b.size() + 1, kGuard),
        scratch(convolution_scratch(v, out) + 1, kGuard) {}

  void run() {
    convolution_forward(v, x.data(), w.data(), b.data(), y.data(), n, out, scratch.data());
    convolution_backward_input(v, dy.data(), w.data(), dx.data(), n, out, scratch.data());
    convolution_backward_weight(v, dy.data(), x.data(), dw.data(), db.data(), n, out, scratch.data());
    for (const auto* values : {&y, &dx, &dw, &db, &scratch}) EXPECT_EQ(values->back(), kGuard);
  }

  static constexpr float kGuard = -99.0F;
  Windows v;
  std::size_t out;
  std::size_t n;
  RandomNumbers random{11};
  std::vector<float> x, w, b, dy;
  std::vector<float> y, dx, dw, db, scratch;
};

// Kernels from 1 to all of the image, strides that leave pixels over, padding, odd widths, and rows that are shorter
// and longer than a vector of each instruction set.
const std::vector<Windows> kWindows = {
    {.channels = 1, .height = 1, .width = 1, .kernel = 1},
    {.channels = 3, .height = 7, .width = 5, .kernel = 1},
    {.channels = 2, .height = 5, .width = 5, .kernel = 5},
    {.channels = 1, .height = 28, .width = 28, .kernel = 5},
    {.channels = 10, .height = 12, .width = 12, .kernel = 5},
    {.channels = 2, .height = 9, .width = 35, .kernel = 3},
    {.channels = 3, .height = 9, .width = 11, .kernel = 3, .stride = 2},
    {.channels = 2, .height = 8, .width = 8, .kernel = 3, .stride = 2, .padding = 1},
    {.channels = 2, .height = 6, .width = 19, .kernel = 3, .stride = 1, .padding = 1},
    {.channels = 1, .height = 3, .width = 4, .kernel = 5, .stride = 1, .padding = 3},
    {.channels = 1, .height = 2, .width = 2, .kernel = 1, .stride = 1, .padding = 4},
    {.channels = 2, .height = 10, .width = 9, .kernel = 2, .stride = 4, .padding = 3},
};

// Of sums of some hundred products below 1, and of such over all positions and images.
constexpr double kRounding = 3e-5;
constexpr double kRoundingOfWeights = 1e-4;

class Convolution : public testing::TestWithParam<std::tuple<Windows, std::size_t, std::size_t>> {};

TEST_P(Convolution, IsThatOfPlainLoops) {
  const auto& [windows, out, n] = GetParam();
  Layer layer(windows, out, n);
  layer.run();
  const ConvolutionReference reference{windows, out};
  std::vector<double> dw(layer.w.size());
  std::vector<double> db(out);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at_y = i * out * windows.positions();
    const std::size_t at_x = i * windows.pixels();
    const auto x = widened(layer.x, at_x, windows.pixels());
    const auto w = widened(layer.w);
    EXPECT_LT(difference(layer.y, at_y, reference.forward(x, w, widened(layer.b))), kRounding);
    const auto d = reference.backward(x, w, widened(layer.dy, at_y, out * windows.positions()));
    EXPECT_LT(difference(layer.dx, at_x, d.x), kRounding);
    std::transform(dw.begin(), dw.end(), d.w.begin(), dw.begin(), std::plus<>());
    std::transform(db.begin(), db.end(), d.b.begin(), db.begin(), std::plus<>());
  }
  EXPECT_LT(difference(layer.dw, 0, dw), kRoundingOfWeights);
  EXPECT_LT(difference(layer.db, 0, db), kRoundingOfWeights);
}

TEST_P(Convolution, IsThatOfAutograd) {
  const auto& [windows, out, n] = GetParam();
  Layer layer(windows, out, n);
  layer.run();
  const auto size = [](std::size_t value) { return static_cast<std::int64_t>(value); };
  const std::int64_t kernel = size(windows.kernel);
  const auto leaf = [](std::vector<float>& values, c10::IntArrayRef shape) {
    return at::from_blob(values.data(), shape).clone().requires_grad_();
  };
  const at::Tensor x = leaf(layer.x, {size(n), size(windows.channels), size(windows.height), size(windows.width)});
  const at::Tensor w = leaf(layer.w, {size(out), size(windows.channels), kernel, kernel});
  const at::Tensor b = leaf(layer.b, {size(out)});
  const at::Tensor y = at::conv2d(x, w, b, size(windows.stride), size(windows.padding));
  y.backward(at::from_blob(layer.dy.data(), y.sizes()));
  const auto distance = [](std::vector<float>& ours, const at::Tensor& theirs) {
    return (at::from_blob(ours.data(), theirs.sizes()) - theirs.detach()).abs().max().item<double>();
  };
  EXPECT_LT(distance(layer.y, y), kRounding);
  EXPECT_LT(distance(layer.dx, x.grad()), kRounding);
  EXPECT_LT(distance(layer.dw, w.grad()), kRoundingOfWeights);
  EXPECT_LT(distance(layer.db, b.grad()), kRoundingOfWeights);
}

INSTANTIATE_TEST_SUITE_P(Windows, Convolution,
                         testing::Combine(testing::ValuesIn(kWindows), testing::Values(1U, 10U, 20U),
                                          testing::Values(1U, 3U)));

TEST(Convolution, WithoutABiasNoneIsAddedAndNoGradientIsWritten) {
  Layer layer({.channels = 2, .height = 6, .width = 6, .kernel = 3}, 3, 2);
  layer.run();
  const std::vector<float> dw = layer.dw;
  std::vector<float> y(layer.y.size());
  convolution_forward(layer.v, layer.x.data(), layer.w.data(), nullptr, y.data(), 2, 3, layer.scratch.data());
  for (std::size_t i = 0; i + 1 < y.size(); ++i) {
    ASSERT_NEAR(y[i] + layer.b[i / layer.v.positions() % 3], layer.y[i], 1e-5F);
  }
  convolution_backward_weight(layer.v, layer.dy.data(), layer.x.data(), layer.dw.data(), nullptr, 2, 3,
                              layer.scratch.data());
  EXPECT_EQ(layer.dw, dw);
}

TEST(ConvolutionReference, ItsGradientsAreFiniteDifferencesOfItsForwardPass) {
  const Windows windows = {.channels = 2, .height = 5, .width = 4, .kernel = 3, .stride = 2, .padding = 1};
  const ConvolutionReference reference{windows, 3};
  Layer layer(windows, 3, 1);
  auto x = widened(layer.x);
  auto w = widened(layer.w);
  auto b = widened(layer.b);
  const auto dy = widened(layer.dy);
  const auto gradients = reference.backward(x, w, dy);
  const auto loss = [&] {
    const auto y = reference.forward(x, w, b);
    double sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  const auto expect_slopes = [&](std::vector<double>& values, const std::vector<double>& slopes) {
    ASSERT_EQ(values.size(), slopes.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      constexpr double kStep = 1e-3;
      const double value = values[i];
      values[i] = value + kStep;
      const double above = loss();
      values[i] = value - kStep;
      const double slope = (above - loss()) / (2 * kStep);
      values[i] = value;
      ASSERT_NEAR(slope, slopes[i], 1e-9);
    }
  };
  expect_slopes(x, gradients.x);
  expect_slopes(w, gradients.w);
  expect_slopes(b, gradients.b);
}

std::vector<ConvolutionLoops> usable_loops() {
  std::vector<ConvolutionLoops> usable = {DEFAULT::kConvolutionLoops};
  if (instruction_set() >= InstructionSet::avx2) usable.push_back(AVX2::kConvolutionLoops);
  if (instruction_set() >= InstructionSet::avx512) usable.push_back(AVX512::kConvolutionLoops);
  return usable;
}

TEST(ConvolutionLoops, EachInstructionSetMovesTheSameNumbers) {
  for (const ConvolutionLoops& loops : usable_loops()) {
    for (const Windows& windows : kWindows) {
      SCOPED_TRACE(testing::PrintToString(windows));
      Layer layer(windows, 1, 1);
      std::vector<float> columns(windows.taps() * windows.positions() + 1, Layer::kGuard);
      std::vector<float> wanted(columns.size() - 1);
      std::vector<float> sums(layer.x.size());
      loops.gather_columns(windows, layer.x.data(), columns.data());
      ConvolutionReference{windows, 1}.for_each_product([&](std::size_t iy, std::size_t iw, std::size_t ix) {
        wanted[iw * windows.positions() + iy] = layer.x[ix];
        sums[ix] += layer.x[ix];
      });
      ASSERT_EQ(columns.back(), Layer::kGuard);
      columns.pop_back();
      ASSERT_EQ(columns, wanted);
      std::vector<float> dx(layer.x.size());
      loops.scatter_columns(windows, columns.data(), dx.data());
      ASSERT_EQ(dx, sums) << "equal numbers, added in the same order";
    }
  }
}

struct Pooled {
  Pooled(const Windows& windows, std::size_t n)
      : y(n * windows.channels * windows.positions() + 1, Layer::kGuard), places(y.size(), -7) {}
  std::vector<float> y;
  std::vector<std::int32_t> places;
};

void expect_pooled_as_by_torch(const Windows& windows, std::vector<float> x, std::size_t n) {
  SCOPED_TRACE(testing::PrintToString(windows));
  Pooled pooled(windows, n);
  max_pool_forward(windows, x.data(), pooled.y.data(), pooled.places.data(), n);
  EXPECT_EQ(pooled.y.back(), Layer::kGuard);
  EXPECT_EQ(pooled.places.back(), -7);
  const auto size = [](std::size_t value) { return static_cast<std::int64_t>(value); };
  const at::Tensor images =
      at::from_blob(x.data(), {size(n), size(windows.channels), size(windows.height), size(windows.width)})
          .clone()
          .requires_grad_();
  const auto [values, indices] = at::max_pool2d_with_indices(images, size(windows.kernel), size(windows.stride));
  const at::Tensor theirs = values.detach().contiguous();
  const at::Tensor places = indices.contiguous();
  ASSERT_EQ(theirs.numel() + 1, size(pooled.y.size()));
  for (std::int64_t i = 0; i < theirs.numel(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    ASSERT_EQ(pooled.places[at], places.const_data_ptr<std::int64_t>()[i]) << i;
    const float value = theirs.const_data_ptr<float>()[i];
    ASSERT_TRUE(std::isnan(value) ? std::isnan(pooled.y[at]) : pooled.y[at] == value) << i;
  }
  std::vector<float> dy = RandomNumbers(11).numbers(pooled.y.size() - 1);
  values.backward(at::from_blob(dy.data(), values.sizes()));
  std::vector<float> dx(x.size(), Layer::kGuard);
  max_pool_backward(windows, dy.data(), pooled.places.data(), dx.data(), n);
  EXPECT_LT((at::from_blob(dx.data(), images.sizes()) - images.grad()).abs().max().item<double>(), 1e-6);
}

const std::vector<Windows> kPools = {{.channels = 1, .height = 2, .width = 2, .kernel = 2, .stride = 2},
                                     {.channels = 10, .height = 24, .width = 24, .kernel = 2, .stride = 2},
                                     {.channels = 2, .height = 9, .width = 51, .kernel = 2, .stride = 2},
                                     {.channels = 3, .height = 11, .width = 37, .kernel = 3, .stride = 1},
                                     {.channels = 2, .height = 13, .width = 40, .kernel = 3, .stride = 2},
                                     {.channels = 2, .height = 30, .width = 31, .kernel = 3, .stride = 3},
                                     {.channels = 1, .height = 7, .width = 7, .kernel = 7, .stride = 7},
                                     {.channels = 1, .height = 5, .width = 6, .kernel = 1, .stride = 2}};

TEST(MaxPool, PlacesAndGradientsAreThoseOfTorch) {
  for (const Windows& windows : kPools)
    expect_pooled_as_by_torch(windows, RandomNumbers(11).numbers(2 * windows.pixels()), 2);
}

TEST(MaxPool, OfEqualNumbersTheFirstCounts) {
  for (const Windows& windows : kPools) {
    std::vector<float> x = RandomNumbers(11).numbers(windows.pixels());
    for (float& value : x) value = std::round(value);
    expect_pooled_as_by_torch(windows, x, 1);
    expect_pooled_as_by_torch(windows, std::vector<float>(windows.pixels(), -std::numeric_limits<float>::infinity()),
                              1);
  }
}

TEST(MaxPool, ANaNCountsAsTheLargest) {
  for (const Windows& windows : kPools) {
    std::vector<float> x = RandomNumbers(11).numbers(windows.pixels());
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = std::nanf("");
    expect_pooled_as_by_torch(windows, x, 1);
  }
}

TEST(MaxPool, EachInstructionSetFindsTheSame) {
  for (const Windows& windows : kPools) {
    SCOPED_TRACE(testing::PrintToString(windows));
    std::vector<float> x = RandomNumbers(11).numbers(windows.pixels());
    for (float& value : x) value = std::round(4 * value);
    const std::size_t columns = windows.columns();
    std::vector<Pooled> pooled;
    for (const ConvolutionLoops& loops : usable_loops()) {
      Pooled& last = pooled.emplace_back(Windows{.height = 1, .width = columns}, 1);
      loops.max_pool_row(windows, x.data(), 0, last.y.data(), last.places.data());
      EXPECT_EQ(last.y.back(), Layer::kGuard);
      EXPECT_EQ(last.y, pooled[0].y);
      EXPECT_EQ(last.places, pooled[0].places);
    }
  }
}

}  // namespace
}  // namespace hogpen::kernels
