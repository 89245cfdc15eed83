#include "runtime/memory/page_lock.h"

#include <map>
#include <mutex>

#include "runtime/core/log.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen {
namespace {

/// What this process has locked, and how often. CUDA refuses to lock it twice.
struct Locked {
  std::size_t count = 0;
  std::byte* on_gpu = nullptr;
};
struct Locks {
  std::mutex mutex;
  pid_t process = ::getpid();
  std::map<const void*, Locked> all;
};

/// Returns its address for all GPUs. One that has none does not stay locked: nobody would know that it is.
std::byte* lock_pages(void* memory, std::size_t size_bytes) {
  const CudaDriver& driver = cuda_driver();
  driver.call("cuMemHostRegister_v2", memory, size_bytes, cuda::kForAllGpus);
  try {
    cuda::Address address = 0;
    driver.call("cuMemHostGetDevicePointer_v2", &address, memory, 0U);
    return reinterpret_cast<std::byte*>(address);
  } catch (const CudaError&) {
    (void)driver.result_of("cuMemHostUnregister", memory);
    throw;
  }
}

/// Of the calling process: a child has none of its parent's.
Locks& locks() {
  static Locks& instance = *new Locks;  // also after main
  if (instance.process != ::getpid()) {
    instance.all.clear();
    instance.process = ::getpid();
  }
  return instance;
}

}  // namespace

PageLock::PageLock(std::byte* memory, std::size_t size_bytes, int gpu) : memory_(memory), gpu_(gpu) {
  use_gpu(gpu);
  const std::lock_guard guard(locks().mutex);
  Locked& locked = locks().all[memory_];
  if (locked.count == 0) locked.on_gpu = lock_pages(memory_, size_bytes);
  ++locked.count;
  on_gpu_ = locked.on_gpu;
}

PageLock::~PageLock() {
  if (::getpid() != process_) return;
  const std::lock_guard guard(locks().mutex);
  if (--locks().all[memory_].count > 0) return;
  try {
    use_gpu(gpu_);
    cuda_driver().call("cuMemHostUnregister", memory_);
  } catch (const Error& error) {
    log(LogLevel::warning, "memory of the host stays locked for GPU {}: {}", gpu_, error.what());
  }
}

}  // namespace hogpen
