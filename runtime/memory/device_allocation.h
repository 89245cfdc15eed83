#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "runtime/core/log.h"
#include "runtime/memory/device_memory.h"

namespace hogpen::detail {

/// GPU memory mapped into this process, whichever way it got here. The process knows all it has, by `live_at` and
/// `live_posted_as`.
///
/// Sharing: all threads. Owns: what has been obtained so far; the destructor of a way gives it back, also when the next
/// call failed. A forked child gives nothing back: it has no CUDA, and its parent still has the memory.
class DeviceAllocation {
 public:
  /// What is mapped is rounded up to whole pages of the GPU, so that nobody else's memory lies in the last one.
  DeviceAllocation(int gpu, std::size_t size_bytes, std::uint64_t layout_hash);
  DeviceAllocation(const DeviceAllocation&) = delete;
  DeviceAllocation& operator=(const DeviceAllocation&) = delete;
  virtual ~DeviceAllocation();

  [[nodiscard]] cuda::Address address() const noexcept { return address_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t layout_hash() const noexcept { return layout_hash_; }
  [[nodiscard]] int gpu() const noexcept { return gpu_; }
  [[nodiscard]] bool is_of_this_process() const noexcept { return ::getpid() == process_; }
  [[nodiscard]] static std::size_t granularity_bytes(cuda::Device device);

  /// Completes the handle, and returns the descriptor that goes beside it, if any.
  virtual Fd share_as(DeviceHandle& handle) const = 0;
  [[nodiscard]] DeviceShare share() const;

  /// The block that stands for it on the family's board.
  [[nodiscard]] BlockId post() const;
  void was_posted_as(SharedBlock block) const;

 protected:
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
  std::size_t size_;
  std::uint64_t layout_hash_;
  cuda::Device device_;
  std::size_t mapped_size_ = 0;
  cuda::Address address_ = 0;

 private:
  friend std::shared_ptr<const DeviceAllocation> live_posted_as(BlockId block);

  pid_t process_ = ::getpid();
  mutable std::mutex posted_mutex_;
  mutable SharedBlock posted_;
};

using Allocation = std::shared_ptr<const DeviceAllocation>;

/// Lets the process know it. Returns it.
Allocation add_live(Allocation allocation);
/// In which the address lies, or null.
[[nodiscard]] Allocation live_at(cuda::Address address);
[[nodiscard]] Allocation live_posted_as(BlockId block);

/// Virtual memory management. Throws: as `DeviceMemory::create` and `attach`.
[[nodiscard]] Allocation create_vmm(int gpu, std::size_t size_bytes, std::uint64_t layout_hash);
[[nodiscard]] Allocation attach_vmm(const DeviceShare& share, int gpu, DeviceMemory::Access access);

/// CUDA IPC. Throws: likewise.
[[nodiscard]] Allocation create_ipc(int gpu, std::size_t size_bytes, std::uint64_t layout_hash);
[[nodiscard]] Allocation attach_ipc(const DeviceHandle& handle, int gpu);

}  // namespace hogpen::detail
