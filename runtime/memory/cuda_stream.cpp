#include "runtime/memory/cuda_stream.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace hogpen {

cuda::Stream current_stream(c10::Device gpu) {
  if (!c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) return nullptr;
  return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getStream(gpu).native_handle();
}

void wait_for_current_stream(c10::Device gpu) {
  use_gpu(gpu.index());
  cuda_driver().call("cuStreamSynchronize", current_stream(gpu));
}

void copy_on_gpu(void* to, const void* from, std::size_t size_bytes, c10::Device gpu) {
  use_gpu(gpu.index());
  const cuda::Stream stream = current_stream(gpu);
  cuda_driver().call("cuMemcpyDtoDAsync_v2", cuda::address_of(to), cuda::address_of(from), size_bytes, stream);
  cuda_driver().call("cuStreamSynchronize", stream);
}

void copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes) {
  cuda_driver().call("cuMemcpyHtoD_v2", cuda::address_of(on_gpu), on_host, size_bytes);
}

void copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes) {
  cuda_driver().call("cuMemcpyDtoH_v2", on_host, cuda::address_of(on_gpu), size_bytes);
}

}  // namespace hogpen
