#pragma once

#include <ATen/core/Tensor.h>
#include <unistd.h>

#include <cstddef>

namespace hogpen {

/// Some memory for a GPU to work with, of this process alone: on the GPU, or page-locked on the host, where the host
/// and every GPU use it under the same address.
///
/// Sharing: all threads. Owns: the memory, not initialised. A forked child gives nothing back.
class CudaBuffer {
 public:
  enum class Place { gpu, host };

  /// Throws: DeviceError without such a GPU; UsageError in a forked child of a process that used CUDA; CudaError.
  CudaBuffer(Place place, int gpu, std::size_t size_bytes);
  CudaBuffer(const CudaBuffer&) = delete;
  CudaBuffer& operator=(const CudaBuffer&) = delete;
  /// Requires: what was enqueued with it is done.
  ~CudaBuffer();

  [[nodiscard]] void* data() const noexcept { return data_; }

 private:
  Place place_;
  int gpu_;
  pid_t process_ = ::getpid();
  void* data_ = nullptr;
};

/// A tensor of this process alone, not initialised: on a GPU, where it needs none of LibTorch's CUDA libraries.
///
/// Shapes: [numel]. Owns: a CudaBuffer. Throws: what CudaBuffer throws.
[[nodiscard]] at::Tensor tensor_on_gpu(int gpu, c10::ScalarType dtype, std::int64_t numel);

}  // namespace hogpen
