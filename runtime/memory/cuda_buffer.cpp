#include "runtime/memory/cuda_buffer.h"

#include "runtime/core/log.h"
#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/view.h"

namespace hogpen {

CudaBuffer::CudaBuffer(Place place, int gpu, std::size_t size_bytes) : place_(place), gpu_(gpu) {
  use_gpu(gpu);
  if (place == Place::host) {
    cuda_driver().call("cuMemHostAlloc", &data_, size_bytes, cuda::kForAllGpus);
  } else {
    data_ = reinterpret_cast<void*>(allocate_on_gpu(gpu, size_bytes));
  }
}

at::Tensor tensor_on_gpu(int gpu, c10::ScalarType dtype, std::int64_t numel) {
  struct Share {
    [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(buffer->data()); }
    std::shared_ptr<const CudaBuffer> buffer;
  };
  const std::size_t size_bytes = static_cast<std::size_t>(numel) * c10::elementSize(dtype);
  Share share{std::make_shared<CudaBuffer>(CudaBuffer::Place::gpu, gpu, size_bytes)};
  const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
  return view_in(storage_in(std::move(share), 0, size_bytes, device), dtype, 0, numel);
}

CudaBuffer::~CudaBuffer() {
  if (::getpid() != process_) return;
  try {
    use_gpu(gpu_);
    if (place_ == Place::host) {
      cuda_driver().call("cuMemFreeHost", data_);
    } else {
      cuda_driver().call("cuMemFree_v2", cuda::address_of(data_));
    }
  } catch (const Error& error) {
    log(LogLevel::warning, "memory for work on GPU {} was not given back: {}", gpu_, error.what());
  }
}

}  // namespace hogpen
