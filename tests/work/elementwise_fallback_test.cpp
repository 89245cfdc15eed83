#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linspace.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "kernels/transform.h"
#include "runtime/core/error.h"
#include "runtime/work/elementwise.h"

// A GPU that has no memory left, in the place of kernels/transform_*cuda*.
namespace hogpen::kernels {

static int trips = 0;

void transform_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, CUstream_st*) {
  throw std::runtime_error("out of memory");
}
void transform_through_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, int) {
  ++trips;
  throw std::runtime_error("memory of the GPU: out of memory");
}
int cuda_devices() noexcept {
  return 1;
}

}  // namespace hogpen::kernels

namespace hogpen {
namespace {

class GpuWithoutMemory : public testing::Test {
 protected:
  GpuWithoutMemory() {
    calibration_.heavy.gpu = 1000;
    kernels::trips = 0;
  }
  [[nodiscard]] at::Tensor right() const {
    Executor caller({.place = Place::caller});
    return exp(in_, caller);
  }
  Calibration calibration_;
  // Few enough for LibTorch to take no OpenMP threads, whose order ThreadSanitizer cannot see.
  at::Tensor in_ = at::linspace(-5, 5, 20'001);
};

TEST_F(GpuWithoutMemory, ThreadsDoWhatTheGpuWasChosenForAndTheLogSaysSo) {
  Executor executor({.threads = 2, .calibration = calibration_});
  ASSERT_EQ(choose({kernels::UnaryOp::Kind::exp}, in_, executor).place, Place::gpu);
  testing::internal::CaptureStderr();
  const at::Tensor out = exp(in_, executor);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(at::equal(out, right()));
  EXPECT_EQ(kernels::trips, 1);
  EXPECT_NE(said.find("20001 elements, threads will: memory of the GPU: out of memory"), std::string::npos) << said;
}

TEST_F(GpuWithoutMemory, APlaceThatWasAskedForFails) {
  Executor executor({.place = Place::gpu});
  EXPECT_THROW((void)exp(in_, executor), std::runtime_error);
}

TEST_F(GpuWithoutMemory, InPlaceItFailsSincePartMayBeDone) {
  Executor executor({.threads = 2, .calibration = calibration_});
  EXPECT_THROW(exp_(in_, executor), std::runtime_error);
  EXPECT_EQ(kernels::trips, 1);
}

}  // namespace
}  // namespace hogpen
