#include "runtime/memory/device_memory.h"

#include <mutex>

#include "runtime/core/error.h"
#include "runtime/memory/device_allocation.h"
#include "runtime/memory/device_board.h"

namespace hogpen {
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
  return DeviceMemory(detail::add_live(way == Way::descriptor
                                           ? detail::create_vmm(gpu, size_bytes, options.layout_hash)
                                           : detail::create_ipc(gpu, size_bytes, options.layout_hash)));
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
  if (handle.way == Way::descriptor) return DeviceMemory(detail::add_live(detail::attach_vmm(share, gpu, access)));
  require(access == Access::read_write, "GPU memory that is shared by CUDA IPC can be mapped writable only");
  return DeviceMemory(detail::add_live(detail::attach_ipc(handle, gpu)));
}

DeviceShare DeviceMemory::share() const {
  return allocation_->share();
}

BlockId DeviceMemory::post() const {
  return allocation_->post();
}

DeviceMemory DeviceMemory::find(BlockId block) {
  static std::mutex& mutex = *new std::mutex;  // Two threads that look for the same get the same mapping.
  const std::lock_guard lock(mutex);
  if (auto known = detail::live_posted_as(block)) return DeviceMemory(std::move(known));
  SharedBlock opened = SharedBlock::open(block);
  const DeviceShare share = detail::find_device_memory(opened);
  DeviceMemory memory = attach(share, share.handle.size_bytes, share.handle.layout_hash);
  memory.allocation_->was_posted_as(std::move(opened));
  return memory;
}

std::optional<DeviceMemory> DeviceMemory::at(const void* address) {
  auto found = detail::live_at(cuda::address_of(address));
  if (!found) return {};
  return DeviceMemory(std::move(found));
}

std::size_t DeviceMemory::granularity_bytes(int gpu) {
  return detail::DeviceAllocation::granularity_bytes(use_gpu(gpu));
}

std::byte* DeviceMemory::data() const noexcept {
  return reinterpret_cast<std::byte*>(allocation_->address());
}

std::size_t DeviceMemory::size_bytes() const noexcept {
  return allocation_->size_bytes();
}

std::uint64_t DeviceMemory::layout_hash() const noexcept {
  return allocation_->layout_hash();
}

int DeviceMemory::gpu() const noexcept {
  return allocation_->gpu();
}

}  // namespace hogpen
