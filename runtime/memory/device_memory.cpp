#include "runtime/memory/device_memory.h"

#include "runtime/core/error.h"
#include "runtime/memory/device_allocation.h"

namespace hogpen {
namespace {

// Plain allocations have no granularity of their own; the driver cuts several out of one page of this size, and CUDA
// IPC would share all of it.
constexpr std::size_t kPlainGranularity = std::size_t{2} << 20;

bool has_attribute(int attribute, cuda::Device device) {
  int value = 0;
  cuda_driver().call("cuDeviceGetAttribute", &value, attribute, device);
  return value != 0;
}

}  // namespace

namespace detail {

DeviceAllocation::DeviceAllocation(int gpu, std::size_t size_bytes) : gpu_(gpu) {
  require(size_bytes > 0, "memory of GPU {} must be larger than 0 bytes", gpu);
  device_ = use_gpu(gpu);
  const std::size_t granularity = granularity_bytes(device_);
  mapped_size_ = (size_bytes + granularity - 1) / granularity * granularity;
  require(mapped_size_ >= size_bytes, "{} bytes of GPU {} are more than an address space holds", size_bytes, gpu);
}

std::size_t DeviceAllocation::granularity_bytes(cuda::Device device) {
  if (!has_attribute(cuda::kVirtualMemory, device)) return kPlainGranularity;
  const cuda::AllocationProperties properties = {.location = {.device = device}};
  std::size_t bytes = 0;
  cuda_driver().call("cuMemGetAllocationGranularity", &bytes, &properties, cuda::kLeastGranularity);
  return bytes;
}

void throw_allocation_error(const CudaError& error, int gpu, std::size_t size_bytes) {
  if (error.code() != cuda::kOutOfMemory) throw error;
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  cuda_driver().call("cuMemGetInfo_v2", &free_bytes, &total_bytes);
  throw CudaError(fmt::format("{} bytes of GPU {} were asked for, of whose {} bytes {} are free: {}", size_bytes, gpu,
                              total_bytes, free_bytes, error.what()),
                  error.code());
}

}  // namespace detail

namespace {

DeviceHandle::Way way_of(int gpu) {
  const cuda::Device device = use_gpu(gpu);
  const bool by_descriptor =
      has_attribute(cuda::kVirtualMemory, device) && has_attribute(cuda::kCanGiveDescriptors, device);
  return by_descriptor ? DeviceHandle::Way::descriptor : DeviceHandle::Way::cuda_ipc;
}

}  // namespace

DeviceMemory DeviceMemory::create(int gpu, std::size_t size_bytes, const Options& options) {
  const Way way = options.way == Way::automatic ? way_of(gpu) : options.way;
  return {way == Way::descriptor ? detail::create_vmm(gpu, size_bytes) : detail::create_ipc(gpu, size_bytes),
          size_bytes, options.layout_hash};
}

DeviceMemory DeviceMemory::attach(const DeviceShare& share, std::size_t size_bytes, std::uint64_t layout_hash,
                                  Access access) {
  const DeviceHandle& handle = share.handle;
  require(handle.size_bytes == size_bytes, "the GPU memory must be of {} bytes as expected, but is of {}", size_bytes,
          handle.size_bytes);
  require(handle.layout_hash == layout_hash,
          "the GPU memory must have the layout that this process expects (hash {:016x}, not {:016x}): the same names, "
          "dtypes and shapes",
          layout_hash, handle.layout_hash);
  require(handle.way == Way::descriptor || handle.way == Way::cuda_ipc,
          "this is no handle of GPU memory: its way is {}", static_cast<std::uint64_t>(handle.way));
  const int gpu = gpu_with(handle.gpu);
  if (handle.way == Way::descriptor) {
    return {detail::attach_vmm(share.fd, gpu, size_bytes, access), size_bytes, layout_hash};
  }
  require(access == Access::read_write, "GPU memory that is shared by CUDA IPC can be mapped writable only");
  return {detail::attach_ipc(handle.ipc, gpu, size_bytes), size_bytes, layout_hash};
}

DeviceShare DeviceMemory::share() const {
  DeviceShare share;
  share.handle = {.size_bytes = size_, .layout_hash = layout_hash_, .gpu = uuid_of_gpu(gpu())};
  share.fd = allocation_->share_as(share.handle);
  return share;
}

std::size_t DeviceMemory::granularity_bytes(int gpu) {
  return detail::DeviceAllocation::granularity_bytes(use_gpu(gpu));
}

std::byte* DeviceMemory::data() const noexcept {
  return reinterpret_cast<std::byte*>(allocation_->address());
}

int DeviceMemory::gpu() const noexcept {
  return allocation_->gpu();
}

}  // namespace hogpen
