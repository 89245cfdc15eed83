#pragma once

#include <unistd.h>

#include <cstddef>
#include <memory>

#include "runtime/core/log.h"
#include "runtime/memory/device_memory.h"

namespace hogpen::detail {

/// GPU memory mapped into this process, whichever way it got here.
///
/// Sharing: read-only, all threads. Owns: what has been obtained so far; the destructor of a way gives it back, also
/// when the next call failed. A forked child gives nothing back: it has no CUDA, and its parent still has the memory.
class DeviceAllocation {
 public:
  /// `size_bytes` is rounded up to whole pages of the GPU, so that nobody else's memory lies in the last one.
  DeviceAllocation(int gpu, std::size_t size_bytes);
  DeviceAllocation(const DeviceAllocation&) = delete;
  DeviceAllocation& operator=(const DeviceAllocation&) = delete;
  virtual ~DeviceAllocation() = default;

  [[nodiscard]] cuda::Address address() const noexcept { return address_; }
  [[nodiscard]] int gpu() const noexcept { return gpu_; }
  [[nodiscard]] static std::size_t granularity_bytes(cuda::Device device);

  /// Completes the handle, and returns the descriptor that goes beside it, if any.
  virtual Fd share_as(DeviceHandle& handle) const = 0;

 protected:
  [[nodiscard]] bool is_of_this_process() const noexcept { return ::getpid() == process_; }

  template <class... Args>
  void give_back(const char* name, Args... args) const noexcept {
    try {
      use_gpu(gpu_);
      cuda_driver().call(name, args...);
    } catch (const Error& error) {
      log(LogLevel::warning, "memory of GPU {} was not given back: {}", gpu_, error.what());
    }
  }

  int gpu_;
  cuda::Device device_;
  std::size_t mapped_size_ = 0;
  cuda::Address address_ = 0;

 private:
  pid_t process_ = ::getpid();
};

/// Virtual memory management. Throws: as `DeviceMemory::create` and `attach`.
[[nodiscard]] std::shared_ptr<const DeviceAllocation> create_vmm(int gpu, std::size_t size_bytes);
[[nodiscard]] std::shared_ptr<const DeviceAllocation> attach_vmm(const Fd& fd, int gpu, std::size_t size_bytes,
                                                                 DeviceMemory::Access access);

/// CUDA IPC. Throws: likewise.
[[nodiscard]] std::shared_ptr<const DeviceAllocation> create_ipc(int gpu, std::size_t size_bytes);
[[nodiscard]] std::shared_ptr<const DeviceAllocation> attach_ipc(const cuda::IpcHandle& handle, int gpu,
                                                                 std::size_t size_bytes);

/// Adds to the driver's error how much was asked for and how much is free, where too little was.
[[noreturn]] void throw_allocation_error(const CudaError& error, int gpu, std::size_t size_bytes);

}  // namespace hogpen::detail
