#pragma once

#include <unistd.h>

#include <cstddef>

namespace hogpen {

/// Memory of the host that is page-locked, so that GPUs read and write it where it is, over the bus.
///
/// Sharing: all threads of the process that made it. Owns: the lock, not the memory, which must stay mapped meanwhile.
/// A forked child gives nothing back.
class PageLock {
 public:
  /// Locks it, unless this process has it locked already. Of several processes each locks its own mapping.
  ///
  /// Requires: no other part of it is locked. Throws: what `use_gpu` throws; CudaError, also when the system lets this
  /// user lock no more.
  PageLock(std::byte* memory, std::size_t size_bytes, int gpu);
  PageLock(const PageLock&) = delete;
  PageLock& operator=(const PageLock&) = delete;
  ~PageLock();

  /// Its address for all GPUs.
  [[nodiscard]] std::byte* on_gpu() const noexcept { return on_gpu_; }

 private:
  void* memory_;
  int gpu_;
  pid_t process_ = ::getpid();
  std::byte* on_gpu_ = nullptr;
};

}  // namespace hogpen
