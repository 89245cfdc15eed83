// The layers of dense_cuda.h against those of dense.h and dropout.h. Built twice: for a GPU, and with the same steps
// run by the host (tests/fake_cuda/fake_layers.cpp), which shows that they are right, if not that a GPU does them so.
#include "kernels/layers_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "kernels/dense.h"
#include "kernels/dropout.h"
#include "kernels/pixels.h"
#include "tests/kernels/layers_on_gpu.h"

namespace hogpen::kernels {
namespace {

std::string text_of(const DenseShape& s) {
  return std::to_string(s.rows) + " x " + std::to_string(s.in) + " x " + std::to_string(s.out);
}

// Around a block's tile of 32, and sums that several groups add.
std::vector<DenseShape> shapes() {
  std::vector<DenseShape> all;
  for (const std::size_t rows : {1U, 32U, 33U}) {
    for (const std::size_t in : {1U, 31U, 65U, 128U, 129U, 300U}) {
      for (const std::size_t out : {1U, 10U, 32U, 33U}) all.push_back({rows, in, out});
    }
  }
  all.push_back({.rows = 150, .in = 20, .out = 7});
  return all;
}

TEST_F(LayersOnGpu, ForwardIsTheCpus) {
  for (const DenseShape& s : shapes()) {
    const DeviceArray<float> x(numbers(s.rows * s.in));
    const DeviceArray<float> w(numbers(s.out * s.in));
    const DeviceArray<float> b(numbers(s.out));
    DeviceArray<float> y(Numbers(s.rows * s.out));
    Numbers expected(s.rows * s.out);
    for (const float* const bias : {b.data(), static_cast<float*>(nullptr)}) {
      linear_forward(x.data(), w.data(), bias, expected.data(), s.rows, s.in, s.out);
      launch(LinearForward{{.values = x.data()}, w.data(), bias, {.y = y.data()}, s}, nullptr);
      finish_device_work();
      expect_near(y.all(), expected, 2e-5, text_of(s));
    }
  }
}

TEST_F(LayersOnGpu, ABatchIsMadeOfThePixelsOfItsSamples) {
  constexpr DenseShape kShape = {.rows = 40, .in = 70, .out = 9};
  constexpr std::size_t kSamples = 13;
  DeviceArray<std::uint8_t> pixels(std::vector<std::uint8_t>(kSamples * kShape.in));
  DeviceArray<std::uint32_t> samples(std::vector<std::uint32_t>(kShape.rows));
  for (std::size_t i = 0; i < pixels.all().size(); ++i) pixels.data()[i] = static_cast<std::uint8_t>(i * 37);
  for (std::size_t i = 0; i < kShape.rows; ++i) samples.data()[i] = static_cast<std::uint32_t>(i * 5 % kSamples);
  Numbers x(kShape.rows * kShape.in);
  for (std::size_t row = 0; row < kShape.rows; ++row) {
    normalize(pixels.data() + samples.data()[row] * kShape.in, x.data() + row * kShape.in, kShape.in, 0.01F, -1.5F);
  }
  const LayerInput input = {.pixels = pixels.data(), .samples = samples.data(), .scale = 0.01F, .shift = -1.5F};
  const DeviceArray<float> w(numbers(kShape.out * kShape.in));
  const DeviceArray<float> dy(numbers(kShape.rows * kShape.out));
  DeviceArray<float> y(Numbers(kShape.rows * kShape.out));
  DeviceArray<float> dw(Numbers(kShape.out * kShape.in));
  Numbers expected_y(kShape.rows * kShape.out);
  Numbers expected_dw(kShape.out * kShape.in);
  linear_forward(x.data(), w.data(), nullptr, expected_y.data(), kShape.rows, kShape.in, kShape.out);
  linear_backward_weight(dy.data(), x.data(), expected_dw.data(), nullptr, kShape.rows, kShape.in, kShape.out);
  launch(LinearForward{input, w.data(), nullptr, {.y = y.data()}, kShape}, nullptr);
  launch(LinearBackwardWeight{dy.data(), input, dw.data(), nullptr, kShape}, nullptr);
  finish_device_work();
  expect_near(y.all(), expected_y, 3e-5, "y");
  expect_near(dw.all(), expected_dw, 3e-5, "dw");
}

TEST_F(LayersOnGpu, BackwardIsTheCpus) {
  for (const DenseShape& s : shapes()) {
    const DeviceArray<float> x(numbers(s.rows * s.in));
    const DeviceArray<float> w(numbers(s.out * s.in));
    const DeviceArray<float> dy(numbers(s.rows * s.out));
    DeviceArray<float> dx(Numbers(s.rows * s.in));
    DeviceArray<float> dw(Numbers(s.out * s.in));
    DeviceArray<float> db(Numbers(s.out));
    Numbers expected_dx(s.rows * s.in);
    Numbers expected_dw(s.out * s.in);
    Numbers expected_db(s.out);
    linear_backward_input(dy.data(), w.data(), expected_dx.data(), s.rows, s.in, s.out);
    linear_backward_weight(dy.data(), x.data(), expected_dw.data(), expected_db.data(), s.rows, s.in, s.out);
    launch(LinearBackwardInput{dy.data(), w.data(), {}, dx.data(), s}, nullptr);
    launch(LinearBackwardWeight{dy.data(), {.values = x.data()}, dw.data(), db.data(), s}, nullptr);
    finish_device_work();
    expect_near(dx.all(), expected_dx, 2e-5, "dx, " + text_of(s));
    expect_near(dw.all(), expected_dw, 3e-5, "dw, " + text_of(s));
    expect_near(db.all(), expected_db, 3e-5, "db, " + text_of(s));
  }
}

TEST_F(LayersOnGpu, ActivationsAreComputedWithTheLayerBefore) {
  constexpr DenseShape kShape = {.rows = 33, .in = 7, .out = 35};
  constexpr std::size_t kNumel = kShape.rows * kShape.out;
  constexpr DenseShape kNext = {.rows = kShape.rows, .in = kShape.out, .out = 5};
  for (const Activation activation :
       {Activation::identity, Activation::relu, Activation::tanh, Activation::sigmoid, Activation::gelu}) {
    const DeviceArray<float> x(numbers(kShape.rows * kShape.in));
    const DeviceArray<float> w(numbers(kShape.out * kShape.in));
    const DeviceArray<float> next_w(numbers(kNext.out * kNext.in));
    const DeviceArray<float> dy(numbers(kNext.rows * kNext.out));
    DeviceArray<float> z(Numbers(kNumel, 0.0F));
    DeviceArray<float> y(Numbers(kNumel, 0.0F));
    DeviceArray<float> dz(Numbers(kNumel, 0.0F));
    const Activated activated = {.activation = activation, .z = z.data(), .y = y.data()};
    launch(LinearForward{{.values = x.data()}, w.data(), nullptr, activated, kShape}, nullptr);
    launch(LinearBackwardInput{dy.data(), next_w.data(), activated, dz.data(), kNext}, nullptr);
    finish_device_work();
    Numbers expected_z(kNumel);
    Numbers expected_y(kNumel);
    Numbers expected_dz(kNumel);
    linear_forward(x.data(), w.data(), nullptr, expected_z.data(), kShape.rows, kShape.in, kShape.out);
    activation_forward(activation, expected_z.data(), expected_y.data(), kNumel);
    linear_backward_input(dy.data(), next_w.data(), expected_dz.data(), kNext.rows, kNext.in, kNext.out);
    activation_backward(activation, expected_z.data(), expected_y.data(), expected_dz.data(), kNumel);
    expect_near(z.all(), expected_z, 1e-5, "z");
    expect_near(y.all(), expected_y, 1e-5, "y");
    expect_near(dz.all(), expected_dz, 1e-5, "dz");
  }
}

TEST_F(LayersOnGpu, CrossEntropyAndItsGradientAreTheCpus) {
  for (const std::size_t rows : {1U, 64U, 300U}) {
    constexpr std::size_t kClasses = 11;
    Numbers expected = numbers(rows * kClasses);
    for (float& logit : expected) logit *= 30.0F;  // whose exponentials differ by far
    DeviceArray<float> logits(expected);
    DeviceArray<float> loss(Numbers(1));
    const DeviceArray<std::uint8_t> labels(std::vector<std::uint8_t>(rows + 1, 0));
    const DeviceArray<std::uint32_t> samples(std::vector<std::uint32_t>(rows, 0));
    std::vector<std::int64_t> expected_labels;
    for (std::size_t i = 0; i < rows; ++i) {
      labels.data()[i + 1] = static_cast<std::uint8_t>(i * 7 % kClasses);
      samples.data()[i] = static_cast<std::uint32_t>(i + 1);
      expected_labels.push_back(labels.data()[i + 1]);
    }
    const double expected_loss = softmax_cross_entropy(expected.data(), expected_labels, kClasses);
    launch(SoftmaxCrossEntropy{logits.data(), labels.data(), samples.data(), loss.data(), rows, kClasses}, nullptr);
    finish_device_work();
    EXPECT_NEAR(loss.data()[0], expected_loss, 1e-5 * expected_loss);
    expect_near(logits.all(), expected, 1e-6, std::to_string(rows) + " rows");
  }
}

TEST_F(LayersOnGpu, DropoutDrawsTheCpusMasks) {
  constexpr std::size_t kRows = 7;
  for (const std::size_t group : {1U, 5U}) {
    constexpr std::size_t kWidth = 45;
    const std::size_t masked = kRows * kWidth / group;
    const DropoutRule rule(0.3);
    std::uint64_t expected_state = 17;
    DeviceArray<std::uint64_t> state(std::vector<std::uint64_t>{expected_state});
    Numbers mask(masked);
    const DeviceArray<float> x(numbers(kRows * kWidth));
    DeviceArray<float> y(Numbers(kRows * kWidth));
    DeviceArray<float> dz(Numbers(kRows * kWidth));
    const Numbers dy_numbers = numbers(kRows * kWidth);
    const DeviceArray<float> dy(dy_numbers);
    for (int step = 0; step < 2; ++step) {
      draw_mask(rule, mask.data(), 11, expected_state);  // of another layer
      draw_mask(rule, mask.data(), masked, expected_state);
      Numbers expected_y(kRows * kWidth);
      Numbers expected_dz(kRows * kWidth);
      apply_mask(mask.data(), x.data(), expected_y.data(), masked, group);
      apply_mask(mask.data(), dy_numbers.data(), expected_dz.data(), masked, group);
      activation_forward(Activation::tanh, expected_y.data(), expected_y.data(), kRows * kWidth);
      const DropoutMask on_gpu = {.rule = rule, .state = state.data(), .skipped = numbers_of_mask(11), .group = group};
      launch(
          DropoutForward{{.values = x.data()}, {.activation = Activation::tanh, .y = y.data()}, on_gpu, kRows, kWidth},
          nullptr);
      launch(DropoutBackward{dy.data(), on_gpu, {}, dz.data(), kRows * kWidth}, nullptr);
      launch(SkipRandom{state.data(), numbers_of_mask(11) + numbers_of_mask(masked)}, nullptr);
      finish_device_work();
      expect_near(y.all(), expected_y, 1e-6, "y");
      expect_near(dz.all(), expected_dz, 0.0, "dz");
      EXPECT_EQ(state.data()[0], expected_state);
    }
  }
}

TEST_F(LayersOnGpu, ANaNStaysOneUpToTheLoss) {
  DeviceArray<float> x(Numbers{1.0F, std::numeric_limits<float>::quiet_NaN()});
  const DeviceArray<float> w(Numbers{1.0F, 2.0F, 3.0F, 4.0F});
  const DeviceArray<std::uint8_t> label(std::vector<std::uint8_t>{1});
  DeviceArray<float> y(Numbers(2));
  DeviceArray<float> loss(Numbers(1));
  launch(LinearForward{{.values = x.data()},
                       w.data(),
                       nullptr,
                       {.activation = Activation::relu, .y = y.data()},
                       {.rows = 1, .in = 2, .out = 2}},
         nullptr);
  launch(SoftmaxCrossEntropy{y.data(), label.data(), nullptr, loss.data(), 1, 2}, nullptr);
  finish_device_work();
  EXPECT_TRUE(std::isnan(loss.data()[0]));
}

}  // namespace
}  // namespace hogpen::kernels
