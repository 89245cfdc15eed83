#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#if HOGPEN_HAS_CUDA
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda_check.h"
#endif

namespace hogpen::kernels {

#if HOGPEN_HAS_CUDA

inline bool can_use_device_arrays() {
  int gpus = 0;
  return cudaGetDeviceCount(&gpus) == cudaSuccess && gpus > 0;
}

inline void finish_device_work() {
  detail::cuda_ok(cudaDeviceSynchronize(), "the kernels");
}

/// Numbers that the host and the GPU can both use, in turns.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    detail::cuda_ok(cudaMallocManaged(&data_, size_ * sizeof(T)), "memory for both");
    std::copy(values.begin(), values.end(), data_);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::span<T> all() const { return {data_, size_}; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

#else

inline bool can_use_device_arrays() {
  return true;
}

inline void finish_device_work() {}

/// The same where the host runs the kernels.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::vector<T> values) : values_(std::move(values)) {}

  [[nodiscard]] T* data() const { return values_.data(); }
  [[nodiscard]] std::span<T> all() const { return values_; }

 private:
  mutable std::vector<T> values_;
};

#endif

}  // namespace hogpen::kernels
