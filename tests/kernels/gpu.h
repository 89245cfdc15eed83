#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

namespace hogpen::kernels {

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

/// Values that begin `offset` elements into an allocation of the GPU, between guards that nobody may touch.
template <class T>
class DeviceValues {
 public:
  DeviceValues(std::span<const T> values, std::size_t offset) : begin_(kGuard + offset), n_(values.size()) {
    std::vector<T> all(begin_ + n_ + kGuard, kMark);
    std::ranges::copy(values, all.begin() + static_cast<std::ptrdiff_t>(begin_));
    check(cudaMalloc(&memory_, all.size() * sizeof(T)));
    check(cudaMemcpy(memory_, all.data(), all.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceValues(const DeviceValues&) = delete;
  DeviceValues& operator=(const DeviceValues&) = delete;
  ~DeviceValues() { cudaFree(memory_); }

  [[nodiscard]] T* data() const { return static_cast<T*>(memory_) + begin_; }
  /// The values; records a failure when a guard was overwritten.
  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> all(begin_ + n_ + kGuard);
    check(cudaMemcpy(all.data(), memory_, all.size() * sizeof(T), cudaMemcpyDeviceToHost));
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(begin_);
    const auto last = first + static_cast<std::ptrdiff_t>(n_);
    const auto is_mark = [](const T& value) { return std::memcmp(&value, &kMark, sizeof(T)) == 0; };
    EXPECT_TRUE(std::all_of(all.begin(), first, is_mark) && std::all_of(last, all.end(), is_mark));
    return {first, last};
  }

 private:
  static constexpr std::size_t kGuard = 8;
  static inline const T kMark = static_cast<T>(-12345.0F);
  std::size_t begin_;
  std::size_t n_;
  void* memory_ = nullptr;
};

/// Tests on a stream of their own; skipped where there is no GPU.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
    check(cudaStreamCreate(&stream_));
  }
  void TearDown() override {
    if (stream_ != nullptr) check(cudaStreamDestroy(stream_));
  }
  [[nodiscard]] cudaStream_t stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace hogpen::kernels
