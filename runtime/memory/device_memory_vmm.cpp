#include <cstdint>
#include <optional>

#include "runtime/memory/device_allocation.h"

namespace hogpen::detail {
namespace {

using Flags = unsigned long long;

class VmmAllocation final : public DeviceAllocation {
 public:
  using DeviceAllocation::DeviceAllocation;
  ~VmmAllocation() override {
    if (!is_of_this_process()) return;
    if (is_mapped_) give_back("cuMemUnmap", address_, mapped_size_);
    if (address_ != 0) give_back("cuMemAddressFree", address_, mapped_size_);
    if (allocation_) give_back("cuMemRelease", *allocation_);
  }

  void allocate() {
    const cuda::AllocationProperties properties = {.location = {.device = device_}};
    cuda::Allocation allocation = 0;
    try {
      cuda_driver().call("cuMemCreate", &allocation, mapped_size_, &properties, Flags{0});
    } catch (const CudaError& error) {
      throw_allocation_error(error, gpu_, size_);
    }
    allocation_ = allocation;
  }

  void import(const Fd& fd) {
    cuda::Allocation allocation = 0;
    void* const handle = reinterpret_cast<void*>(static_cast<std::intptr_t>(fd.get()));
    cuda_driver().call("cuMemImportFromShareableHandle", &allocation, handle, cuda::kFileDescriptor);
    allocation_ = allocation;
  }

  void map(DeviceMemory::Access access) {
    const CudaDriver& driver = cuda_driver();
    driver.call("cuMemAddressReserve", &address_, mapped_size_, std::size_t{0}, cuda::Address{0}, Flags{0});
    driver.call("cuMemMap", address_, mapped_size_, std::size_t{0}, *allocation_, Flags{0});
    is_mapped_ = true;
    const cuda::AccessRights rights = {
        .location = {.device = device_},
        .flags = access == DeviceMemory::Access::read_only ? cuda::kReadOnly : cuda::kReadWrite};
    driver.call("cuMemSetAccess", address_, mapped_size_, &rights, std::size_t{1});
  }

  Fd share_as(DeviceHandle& handle) const override {
    handle.way = DeviceHandle::Way::descriptor;
    int fd = -1;
    cuda_driver().call("cuMemExportToShareableHandle", static_cast<void*>(&fd), *allocation_, cuda::kFileDescriptor,
                       Flags{0});
    return Fd(fd);
  }

 private:
  std::optional<cuda::Allocation> allocation_;
  bool is_mapped_ = false;
};

}  // namespace

Allocation create_vmm(int gpu, std::size_t size_bytes, std::uint64_t layout_hash) {
  const auto made = std::make_shared<VmmAllocation>(gpu, size_bytes, layout_hash);
  made->allocate();
  made->map(DeviceMemory::Access::read_write);
  return made;
}

Allocation attach_vmm(const DeviceShare& share, int gpu, DeviceMemory::Access access) {
  const auto made = std::make_shared<VmmAllocation>(gpu, share.handle.size_bytes, share.handle.layout_hash);
  made->import(share.fd);
  made->map(access);
  return made;
}

}  // namespace hogpen::detail
