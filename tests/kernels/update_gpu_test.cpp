#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/update.h"

#if HOGPEN_HAS_CUDA
#include "tests/kernels/gpu.h"

namespace hogpen::kernels {
namespace {

class UpdateOnGpu : public GpuTest {
 protected:
  std::vector<float> random_values(std::size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = uniform_(random_);
    return values;
  }

  /// Three steps on both devices: the results must have the same bits.
  void expect_equal_to_cpu(Write write, SgdScalars scalars, std::size_t n, std::size_t offset, std::size_t skew) {
    std::vector<float> parameters = random_values(n);
    std::vector<float> momentum(n, 0.0F);
    const DeviceValues<float> on_gpu(parameters, offset);
    const DeviceValues<float> momentum_on_gpu(momentum, offset);
    for (scalars.step = 1; scalars.step <= 3; ++scalars.step) {
      const std::vector<float> gradients = random_values(n);
      const DeviceValues<float> gradients_on_gpu(gradients, offset + skew);
      sgd(write, parameters.data(), gradients.data(), momentum.data(), n, scalars);
      sgd_cuda(write, on_gpu.data(), gradients_on_gpu.data(), momentum_on_gpu.data(), n, scalars, stream());
      check(cudaStreamSynchronize(stream()));
    }
    EXPECT_EQ(on_gpu.read(), parameters);
    EXPECT_EQ(momentum_on_gpu.read(), momentum);
  }

 private:
  std::mt19937 random_{11};
  std::uniform_real_distribution<float> uniform_{-1.0F, 1.0F};
};

TEST_F(UpdateOnGpu, HasTheBitsOfTheCpuForAnyLengthAndAlignment) {
  const std::vector<SgdScalars> variants = {
      {.lr = 0.1},
      {.lr = 0.1, .weight_decay = 0.02},
      {.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.02},
      {.lr = 0.1, .momentum = 0.9, .nesterov = true},
  };
  for (const Write write : {Write::plain, Write::atomic}) {
    for (std::size_t variant = 0; variant < variants.size(); ++variant) {
      for (const std::size_t n : {0U, 1U, 3U, 4U, 5U, 1023U, 100'001U}) {
        for (const std::size_t offset : {0U, 1U, 2U, 3U}) {
          SCOPED_TRACE("variant " + std::to_string(variant) + ", n " + std::to_string(n) + ", offset " +
                       std::to_string(offset) + (write == Write::plain ? ", plain" : ", atomic"));
          expect_equal_to_cpu(write, variants[variant], n, offset, 0);
          expect_equal_to_cpu(write, variants[variant], n, offset, 1);
        }
      }
    }
  }
}

// More elements than one pass of the grid: 4096 blocks of 256 threads.
TEST_F(UpdateOnGpu, StridesOverMoreElementsThanThreads) {
  expect_equal_to_cpu(Write::plain, {.lr = 0.1, .momentum = 0.9}, 4U * 4096 * 256 + 7, 0, 0);
  expect_equal_to_cpu(Write::plain, {.lr = 0.1, .momentum = 0.9}, 4096 * 256 + 7, 1, 0);
  expect_equal_to_cpu(Write::atomic, {.lr = 0.1, .momentum = 0.9}, 4096 * 256 + 7, 1, 0);
}

// Every step adds 1; sums below 2^24 are exact in float.
TEST_F(UpdateOnGpu, AtomicLosesNoUpdateOfConcurrentStreams) {
  constexpr std::size_t kElements = 100'000;
  constexpr int kStreams = 4;
  constexpr int kSteps = 200;
  const DeviceValues<float> parameters(std::vector<float>(kElements, 0.0F), 0);
  const DeviceValues<float> gradients(std::vector<float>(kElements, -1.0F), 0);
  std::vector<cudaStream_t> streams(kStreams);
  for (cudaStream_t& stream : streams) check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (int i = 0; i < kSteps * kStreams; ++i) {
    sgd_cuda(Write::atomic, parameters.data(), gradients.data(), nullptr, kElements, {.lr = 1.0},
             streams[static_cast<std::size_t>(i % kStreams)]);
  }
  for (const cudaStream_t stream : streams) check(cudaStreamSynchronize(stream));
  for (const cudaStream_t stream : streams) check(cudaStreamDestroy(stream));
  EXPECT_EQ(parameters.read(), std::vector<float>(kElements, 1.0F * kStreams * kSteps));
}

}  // namespace
}  // namespace hogpen::kernels

#else

TEST(UpdateOnGpu, WithoutCudaTheErrorSaysHowToConfigure) {
  using hogpen::kernels::Write;
  try {
    hogpen::kernels::sgd_cuda(Write::plain, nullptr, nullptr, nullptr, 0, {}, nullptr);
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("HOGPEN_CUDA=ON"), std::string::npos) << error.what();
  }
}

#endif
