#include "runtime/memory/cuda_stream.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace hogpen {
namespace {

/// The stream of the thread's OwnStream.
thread_local cuda::Stream own_stream = nullptr;

bool has_libtorch_cuda() {
  return c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA);
}

}  // namespace

OwnStream::OwnStream(c10::Device gpu) : gpu_(gpu) {
  use_gpu(gpu.index());
  // Not one of LibTorch's, of which there are 32 for all threads of a process. It takes the address of another for its
  // id.
  cuda_driver().call("cuStreamCreate", &own_stream, cuda::kNonBlocking);
  if (!has_libtorch_cuda()) return;
  const c10::Stream ours(c10::Stream::UNSAFE, gpu, reinterpret_cast<c10::StreamId>(own_stream));
  before_ = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).exchangeStream(ours);
}

OwnStream::~OwnStream() {
  if (process_ != ::getpid()) return;
  const cuda::Stream stream = std::exchange(own_stream, nullptr);
  (void)cuda_driver().result_of("cuStreamSynchronize", stream);
  if (before_) c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).exchangeStream(*before_);
  (void)cuda_driver().result_of("cuStreamDestroy_v2", stream);
}

void OwnStream::wait() const {
  cuda_driver().call("cuStreamSynchronize", current_stream(gpu_));
}

cuda::Stream current_stream(c10::Device gpu) {
  if (own_stream != nullptr || !has_libtorch_cuda()) return own_stream;
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

void enqueue_copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes, cuda::Stream stream) {
  cuda_driver().call("cuMemcpyHtoDAsync_v2", cuda::address_of(on_gpu), on_host, size_bytes, stream);
}

void enqueue_copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes, cuda::Stream stream) {
  cuda_driver().call("cuMemcpyDtoHAsync_v2", on_host, cuda::address_of(on_gpu), size_bytes, stream);
}

void copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes) {
  cuda_driver().call("cuMemcpyHtoD_v2", cuda::address_of(on_gpu), on_host, size_bytes);
  // From pageable memory it may return once the bytes are on their way, and only the default stream waits for them.
  cuda_driver().call("cuStreamSynchronize", cuda::Stream{nullptr});
}

void copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes) {
  cuda_driver().call("cuMemcpyDtoH_v2", on_host, cuda::address_of(on_gpu), size_bytes);
}

}  // namespace hogpen
