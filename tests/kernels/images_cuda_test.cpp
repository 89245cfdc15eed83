// The layers of images_cuda.h against those of convolution.h: see layers_cuda_test.cpp, with which it is built.
#include "kernels/images_cuda.h"

#include <algorithm>
#include <limits>

#include "kernels/dense.h"
#include "kernels/layers_cuda.h"
#include "kernels/pixels.h"
#include "tests/kernels/layers_on_gpu.h"

namespace hogpen::kernels {
namespace {

class ImagesOnGpu : public LayersOnGpu {
 protected:
  /// What the CPU computes.
  struct Expected {
    Expected(const ConvolutionShape& s, const float* x, const float* w, const float* b, const float* dy)
        : y(s.n * s.out * s.windows.positions()),
          dx(s.n * s.windows.pixels()),
          dw(s.out * s.windows.taps()),
          db(s.out),
          scratch(convolution_scratch(s.windows, s.out)) {
      convolution_forward(s.windows, x, w, b, y.data(), s.n, s.out, scratch.data());
      convolution_backward_input(s.windows, dy, w, dx.data(), s.n, s.out, scratch.data());
      convolution_backward_weight(s.windows, dy, x, dw.data(), db.data(), s.n, s.out, scratch.data());
    }
    Numbers y;
    Numbers dx;
    Numbers dw;
    Numbers db;
    Numbers scratch;
  };

  static std::string text_of(const ConvolutionShape& s) {
    const Windows& w = s.windows;
    return std::to_string(s.n) + " x " + std::to_string(w.channels) + " x " + std::to_string(w.height) + " x " +
           std::to_string(w.width) + ", kernel " + std::to_string(w.kernel) + ", stride " + std::to_string(w.stride) +
           ", padding " + std::to_string(w.padding) + ", out " + std::to_string(s.out);
  }

  // Around a tile of 32, sums that several groups add, and several parts of a batch.
  static std::vector<ConvolutionShape> shapes() {
    return {
        {.windows = {}, .n = 1, .out = 1},
        {.windows = {.channels = 1, .height = 28, .width = 28, .kernel = 5}, .n = 5, .out = 10},
        {.windows = {.channels = 10, .height = 12, .width = 12, .kernel = 5}, .n = 9, .out = 20},
        {.windows = {.channels = 33, .height = 5, .width = 7, .kernel = 3, .padding = 1}, .n = 3, .out = 35},
        {.windows = {.channels = 3, .height = 9, .width = 11, .kernel = 3, .stride = 2, .padding = 2},
         .n = 4,
         .out = 4},
        {.windows = {.channels = 2, .height = 8, .width = 10, .kernel = 2, .stride = 3}, .n = 2, .out = 3},
        {.windows = {.channels = 2, .height = 3, .width = 4, .kernel = 5, .stride = 1, .padding = 4}, .n = 2, .out = 3},
    };
  }
};

TEST_F(ImagesOnGpu, ConvolutionsAreTheCpus) {
  for (const ConvolutionShape& s : shapes()) {
    SCOPED_TRACE(text_of(s));
    const std::size_t numel = s.n * s.out * s.windows.positions();
    const DeviceArray<float> x(numbers(s.n * s.windows.pixels()));
    const DeviceArray<float> w(numbers(s.out * s.windows.taps()));
    const DeviceArray<float> b(numbers(s.out));
    const DeviceArray<float> dy(numbers(numel));
    const std::size_t parts = convolution_parts(s);
    DeviceArray<float> y(Numbers(numel, 0.0F));
    DeviceArray<float> dx(Numbers(s.n * s.windows.pixels()));
    DeviceArray<float> part_sums(Numbers(parts * s.out * (s.windows.taps() + 1)));
    DeviceArray<float> dw(Numbers(s.out * s.windows.taps()));
    DeviceArray<float> db(Numbers(s.out, 0.0F));
    const Expected expected(s, x.data(), w.data(), b.data(), dy.data());
    launch(ConvolutionForward{{.values = x.data()}, w.data(), b.data(), {.y = y.data()}, s}, nullptr);
    launch(ConvolutionBackwardInput{dy.data(), w.data(), {}, dx.data(), s}, nullptr);
    launch(ConvolutionBackwardWeight{dy.data(), {.values = x.data()}, part_sums.data(), parts, s}, nullptr);
    launch(AddParts{part_sums.data(), parts, dw.data(), db.data(), s.out, s.windows.taps()}, nullptr);
    finish_device_work();
    expect_near(y.all(), expected.y, 4e-5, "y");
    expect_near(dx.all(), expected.dx, 4e-5, "dx");
    expect_near(dw.all(), expected.dw, 4e-4, "dw");
    expect_near(db.all(), expected.db, 4e-4, "db");
  }
}

TEST_F(ImagesOnGpu, LongSumsOverABatchAreMadeInParts) {
  const ConvolutionShape large = {
      .windows = {.channels = 1, .height = 28, .width = 28, .kernel = 5}, .n = 64, .out = 10};
  EXPECT_GT(convolution_parts(large), 100U);
  const ConvolutionShape small = {.windows = {.height = 4, .width = 4, .kernel = 3}, .n = 1, .out = 10};
  EXPECT_EQ(convolution_parts(small), 1U);
}

TEST_F(ImagesOnGpu, AConvolutionSeesThePixelsOfItsSamplesBetweenZeros) {
  constexpr ConvolutionShape kShape = {
      .windows = {.channels = 1, .height = 6, .width = 5, .kernel = 3, .padding = 1}, .n = 4, .out = 3};
  const std::size_t area = kShape.windows.pixels();
  const DeviceArray<std::uint8_t> pixels(std::vector<std::uint8_t>(10 * area));
  for (std::size_t i = 0; i < 10 * area; ++i) pixels.data()[i] = static_cast<std::uint8_t>(i * 37);
  const DeviceArray<std::uint32_t> samples(std::vector<std::uint32_t>{7, 0, 9, 7});
  Numbers x(kShape.n * area);
  for (std::size_t i = 0; i < kShape.n; ++i) {
    normalize(pixels.data() + samples.data()[i] * area, x.data() + i * area, area, 0.01F, -1.5F);
  }
  const DeviceArray<float> w(numbers(kShape.out * kShape.windows.taps()));
  const Numbers dy(kShape.n * kShape.out * kShape.windows.positions());
  const Expected expected(kShape, x.data(), w.data(), nullptr, dy.data());
  DeviceArray<float> y(Numbers(expected.y.size()));
  launch(ConvolutionForward{{.pixels = pixels.data(), .samples = samples.data(), .scale = 0.01F, .shift = -1.5F},
                            w.data(),
                            nullptr,
                            {.y = y.data()},
                            kShape},
         nullptr);
  finish_device_work();
  expect_near(y.all(), expected.y, 2e-5, "y");
}

TEST_F(ImagesOnGpu, AnActivationIsComputedWithTheConvolutionBefore) {
  constexpr ConvolutionShape kShape = {
      .windows = {.channels = 2, .height = 6, .width = 6, .kernel = 3}, .n = 3, .out = 4};
  const std::size_t numel = kShape.n * kShape.windows.pixels();
  const DeviceArray<float> z(numbers(numel));
  DeviceArray<float> x(Numbers(numel, 0.0F));
  activation_forward(Activation::gelu, z.data(), x.data(), numel);
  const DeviceArray<float> w(numbers(kShape.out * kShape.windows.taps()));
  const DeviceArray<float> dy(numbers(kShape.n * kShape.out * kShape.windows.positions()));
  DeviceArray<float> dz(Numbers(numel, 0.0F));
  Expected expected(kShape, x.data(), w.data(), nullptr, dy.data());
  activation_backward(Activation::gelu, z.data(), x.data(), expected.dx.data(), numel);
  const Activated before = {.activation = Activation::gelu, .z = z.data(), .y = x.data()};
  launch(ConvolutionBackwardInput{dy.data(), w.data(), before, dz.data(), kShape}, nullptr);
  finish_device_work();
  expect_near(dz.all(), expected.dx, 2e-5, "dz");
}

TEST_F(ImagesOnGpu, PoolsAreTheCpus) {
  for (const Windows& windows : {Windows{.channels = 3, .height = 8, .width = 9, .kernel = 2, .stride = 2},
                                 Windows{.channels = 2, .height = 7, .width = 7, .kernel = 3, .stride = 1},
                                 Windows{.channels = 1, .height = 7, .width = 11, .kernel = 2, .stride = 3},
                                 Windows{.channels = 1, .height = 5, .width = 5, .kernel = 5, .stride = 1}}) {
    SCOPED_TRACE(windows.kernel);
    constexpr std::size_t kImages = 3;
    const std::size_t numel = kImages * windows.channels * windows.positions();
    Numbers values = numbers(kImages * windows.pixels());
    for (std::size_t i = 0; i < values.size(); i += 3) values[i] = 0.5F;  // some are equal
    values[1] = std::numeric_limits<float>::quiet_NaN();
    const DeviceArray<float> x(values);
    const DeviceArray<float> dy(numbers(numel));
    DeviceArray<float> y(Numbers(numel, 0.0F));
    DeviceArray<float> dx(Numbers(values.size(), 0.0F));
    DeviceArray<std::int32_t> places(std::vector<std::int32_t>(numel, -1));
    Numbers expected_y(numel);
    Numbers expected_dx(values.size());
    std::vector<std::int32_t> expected_places(numel);
    max_pool_forward(windows, x.data(), expected_y.data(), expected_places.data(), kImages);
    max_pool_backward(windows, dy.data(), expected_places.data(), expected_dx.data(), kImages);
    launch(MaxPoolForward{{.values = x.data()}, {.y = y.data()}, places.data(), windows, kImages}, nullptr);
    launch(MaxPoolBackward{dy.data(), places.data(), {}, dx.data(), windows, kImages}, nullptr);
    finish_device_work();
    EXPECT_TRUE(std::ranges::equal(places.all(), expected_places));
    EXPECT_TRUE(std::isnan(y.data()[0]));
    std::ranges::replace_if(y.all(), [](float v) { return std::isnan(v); }, 9.0F);
    std::ranges::replace_if(expected_y, [](float v) { return std::isnan(v); }, 9.0F);
    expect_near(y.all(), expected_y, 0.0, "y");
    expect_near(dx.all(), expected_dx, 1e-6, "dx");
  }
}

}  // namespace
}  // namespace hogpen::kernels
