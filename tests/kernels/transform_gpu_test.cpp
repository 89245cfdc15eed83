#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/transform.h"

#if HOGPEN_HAS_CUDA
#include "tests/kernels/gpu.h"
#include "tests/kernels/transform_values.h"

namespace hogpen::kernels {
namespace {

template <class T>
class TransformOnGpu : public GpuTest {
 protected:
  static constexpr auto kDtype = c10::CppTypeToScalarType<T>::value;

  void transform_and_wait(UnaryOp op, const T* in, T* out, std::size_t n) {
    transform_cuda(op, kDtype, in, out, n, this->stream());
    check(cudaStreamSynchronize(this->stream()));
  }
};

using Dtypes = testing::Types<float, double, c10::BFloat16, c10::Half>;
TYPED_TEST_SUITE(TransformOnGpu, Dtypes);

TYPED_TEST(TransformOnGpu, IsWithinTheStatedUlpsOfTheReference) {
  using T = TypeParam;
  const std::vector<T> in = representative_values<T>();
  const DeviceValues<T> device_in(in, 0);
  const DeviceValues<T> device_out(in, 0);
  for (const UnaryOp& op : all_ops()) {
    SCOPED_TRACE(std::string(name_of(op)));
    this->transform_and_wait(op, device_in.data(), device_out.data(), in.size());
    const std::vector<T> out = device_out.read();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < in.size() && wrong < 5; ++i) {
      if (is_accurate<T>(op, false, in[i], out[i])) continue;
      ++wrong;
      ADD_FAILURE() << static_cast<double>(in[i]) << " gave " << static_cast<double>(out[i]) << " instead of "
                    << static_cast<double>(exact<T>(op, in[i]));
    }
  }
}

TYPED_TEST(TransformOnGpu, NeitherLengthNorAlignmentMatters) {
  using T = TypeParam;
  for (const std::size_t n : {0U, 1U, 3U, 7U, 8U, 9U, 31U, 1023U, 100'001U}) {
    const std::vector<T> values = some_values<T>(n);
    for (const UnaryOp& op : all_ops()) {
      const DeviceValues<T> aligned(values, 0);
      this->transform_and_wait(op, aligned.data(), aligned.data(), n);
      const std::vector<T> wanted = aligned.read();
      for (const std::size_t offset : {0U, 1U, 2U, 5U}) {
        for (const std::size_t skew : {0U, 1U, 3U, 8U}) {
          SCOPED_TRACE(std::string(name_of(op)) + ", " + std::to_string(n) + " elements, offset " +
                       std::to_string(offset) + ", skew " + std::to_string(skew));
          const DeviceValues<T> in(values, offset);
          const DeviceValues<T> out(values, offset + skew);
          this->transform_and_wait(op, in.data(), out.data(), n);
          EXPECT_TRUE(same_bits(out.read().data(), wanted.data(), n));
          EXPECT_TRUE(same_bits(in.read().data(), values.data(), n));
          this->transform_and_wait(op, in.data(), in.data(), n);
          EXPECT_TRUE(same_bits(in.read().data(), wanted.data(), n));
        }
      }
    }
  }
}

// In place. Zeros but for the last elements, which have numbers of 33 bits, and the element behind them.
using BFloat16OnGpu = TransformOnGpu<c10::BFloat16>;

TEST_F(BFloat16OnGpu, MoreThan2To32Elements) {
  using T = c10::BFloat16;
  constexpr std::size_t kBegin = std::size_t{1} << 32;
  const std::vector<T> tail(1001, T(3.0F));
  const std::size_t n = kBegin + tail.size() - 1;
  const std::size_t bytes = (n + 1) * sizeof(T);
  std::size_t free = 0;
  std::size_t all = 0;
  check(cudaMemGetInfo(&free, &all));
  if (free < bytes + (std::size_t{256} << 20)) GTEST_SKIP() << "the GPU has " << free << " bytes free, not " << bytes;
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes));
  const std::unique_ptr<void, void (*)(void*)> owner(memory, [](void* old) { (void)cudaFree(old); });
  auto* const values = static_cast<T*>(memory);
  check(cudaMemset(values, 0, kBegin * sizeof(T)));
  check(cudaMemcpy(values + kBegin, tail.data(), tail.size() * sizeof(T), cudaMemcpyHostToDevice));
  check(cudaDeviceSynchronize());
  transform_and_wait({.kind = UnaryOp::Kind::square}, values, values, n);
  std::vector<T> squares(tail.size() + 1000);
  check(cudaMemcpy(squares.data(), values + kBegin - 1000, squares.size() * sizeof(T), cudaMemcpyDeviceToHost));
  for (std::size_t i = 0; i < squares.size(); ++i) {
    EXPECT_EQ(static_cast<float>(squares[i]), i < 1000 ? 0.0F : i + 1 < squares.size() ? 9.0F : 3.0F) << i;
  }
}

// More than one round through the buffers in between.
TYPED_TEST(TransformOnGpu, HostMemoryGoesThroughInPieces) {
  using T = TypeParam;
  const UnaryOp op{.kind = UnaryOp::Kind::square};
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, (std::size_t{40} << 20) / sizeof(T) + 3}) {
    const std::vector<T> in = some_values<T>(n);
    std::vector<T> out(n);
    transform_through_cuda(op, TestFixture::kDtype, in.data(), out.data(), n, 0);
    std::vector<T> wanted(n);
    transform(op, TestFixture::kDtype, in.data(), wanted.data(), n, Store::cached);
    EXPECT_TRUE(same_bits(out.data(), wanted.data(), n));
  }
}

}  // namespace
}  // namespace hogpen::kernels

#else

TEST(TransformOnGpu, WithoutCudaTheErrorSaysHowToConfigure) {
  using namespace hogpen::kernels;
  EXPECT_EQ(cuda_devices(), 0);
  const auto refusal = [](const auto& call) {
    try {
      call();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  float x = 0;
  const auto resident = [&] { transform_cuda({}, c10::ScalarType::Float, &x, &x, 1, nullptr); };
  const auto through = [&] { transform_through_cuda({}, c10::ScalarType::Float, &x, &x, 1, 0); };
  EXPECT_NE(refusal(resident).find("HOGPEN_CUDA=ON"), std::string::npos);
  EXPECT_NE(refusal(through).find("HOGPEN_CUDA=ON"), std::string::npos);
}

#endif
