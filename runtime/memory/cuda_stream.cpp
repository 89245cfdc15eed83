#include "runtime/memory/cuda_stream.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "runtime/memory/cuda_driver.h"

namespace hogpen {
namespace {

void* current_stream(c10::Device gpu) {
  if (!c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) return nullptr;
  return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(gpu).native_handle();
}

}  // namespace

void wait_for_current_stream(c10::Device gpu) {
  use_gpu(gpu.index());
  cuda_driver().call("cuStreamSynchronize", current_stream(gpu));
}

void copy_on_gpu(void* to, const void* from, std::size_t size_bytes, c10::Device gpu) {
  use_gpu(gpu.index());
  void* const stream = current_stream(gpu);
  cuda_driver().call("cuMemcpyDtoDAsync_v2", cuda::address_of(to), cuda::address_of(from), size_bytes, stream);
  cuda_driver().call("cuStreamSynchronize", stream);
}

}  // namespace hogpen
