#include "runtime/memory/page_lock.h"

#include <map>
#include <mutex>

#include "runtime/core/log.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen {
namespace {

std::mutex locks_mutex;
std::map<const std::byte*, std::weak_ptr<const PageLock>>& locks() {
  static auto& all = *new std::map<const std::byte*, std::weak_ptr<const PageLock>>;  // also after main
  return all;
}

}  // namespace

std::shared_ptr<const PageLock> PageLock::of(std::byte* memory, std::size_t size_bytes, int gpu) {
  const std::lock_guard guard(locks_mutex);
  if (auto known = locks()[memory].lock(); known && known->process_ == ::getpid()) return known;
  std::shared_ptr<const PageLock> made(new PageLock(memory, size_bytes, gpu));
  locks()[memory] = made;
  return made;
}

PageLock::PageLock(std::byte* memory, std::size_t size_bytes, int gpu) : memory_(memory), gpu_(gpu) {
  use_gpu(gpu);
  const void* const host = memory;
  cuda_driver().call("cuMemHostRegister_v2", host, size_bytes, cuda::kForAllGpus);
  cuda::Address address = 0;
  cuda_driver().call("cuMemHostGetDevicePointer_v2", &address, host, 0U);
  on_gpu_ = reinterpret_cast<std::byte*>(address);
}

PageLock::~PageLock() {
  if (::getpid() != process_) return;
  try {
    use_gpu(gpu_);
    const void* const host = memory_;
    cuda_driver().call("cuMemHostUnregister", host);
  } catch (const Error& error) {
    log(LogLevel::warning, "memory of the host stays locked for GPU {}: {}", gpu_, error.what());
  }
}

}  // namespace hogpen
