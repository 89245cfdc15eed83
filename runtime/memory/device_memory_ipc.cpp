#include <map>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/device_allocation.h"

namespace hogpen::detail {
namespace {

class IpcAllocation final : public DeviceAllocation {
 public:
  using DeviceAllocation::DeviceAllocation;
  ~IpcAllocation() override;

  void allocate() {
    try {
      cuda_driver().call("cuMemAlloc_v2", &address_, mapped_size_);
    } catch (const CudaError& error) {
      throw_allocation_error(error, gpu_, size_);
    }
    cuda_driver().call("cuIpcGetMemHandle", &handle_, address_);
  }

  void open(const cuda::IpcHandle& handle) {
    cuda_driver().call("cuIpcOpenMemHandle_v2", &address_, handle, cuda::kLazyPeerAccess);
    is_anothers_ = true;
    handle_ = handle;
    cuda::Address begin = 0;
    std::size_t size = 0;
    cuda_driver().call("cuMemGetAddressRange_v2", &begin, &size, address_);
    check_size(size);
  }

  void check_size(std::size_t size) const {
    if (size == mapped_size_) return;
    throw CudaError(fmt::format("the GPU memory must be of {} bytes, but is of {}", mapped_size_, size),
                    cuda::kInvalidValue);
  }
  [[nodiscard]] std::size_t mapped_size() const noexcept { return mapped_size_; }

  [[nodiscard]] const cuda::IpcHandle& handle() const noexcept { return handle_; }

  Fd share_as(DeviceHandle& handle) const override {
    (void)cuda_driver();  // which throws in a forked child
    handle.way = DeviceHandle::Way::cuda_ipc;
    handle.ipc = handle_;
    return {};
  }

 private:
  cuda::IpcHandle handle_;
  bool is_anothers_ = false;
};

// By their handles. A process cannot open a handle of memory that it made itself, and one that it opened twice is
// mapped once: it is given what it has.
struct Known {
  std::mutex mutex;
  std::map<cuda::IpcHandle, std::weak_ptr<const IpcAllocation>> allocations;

  static Known& instance() {
    static Known& known = *new Known;  // Never destroyed: memory may be given back after main.
    return known;
  }
};

IpcAllocation::~IpcAllocation() {
  if (!is_of_this_process() || address_ == 0) return;
  {
    const std::lock_guard lock(Known::instance().mutex);
    const auto found = Known::instance().allocations.find(handle_);
    if (found != Known::instance().allocations.end() && found->second.expired()) {
      Known::instance().allocations.erase(found);
    }
  }
  give_back(is_anothers_ ? "cuIpcCloseMemHandle" : "cuMemFree_v2", address_);
}

}  // namespace

Allocation create_ipc(int gpu, std::size_t size_bytes, std::uint64_t layout_hash) {
  const auto made = std::make_shared<IpcAllocation>(gpu, size_bytes, layout_hash);
  made->allocate();
  const std::lock_guard lock(Known::instance().mutex);
  Known::instance().allocations.insert_or_assign(made->handle(), made);
  return made;
}

Allocation attach_ipc(const DeviceHandle& handle, int gpu) {
  const auto opened = std::make_shared<IpcAllocation>(gpu, handle.size_bytes, handle.layout_hash);
  std::shared_ptr<const IpcAllocation> known;  // dropped after the lock, which its end takes
  const std::lock_guard lock(Known::instance().mutex);
  auto& place = Known::instance().allocations[handle.ipc];
  known = place.lock();
  if (known) {
    opened->check_size(known->mapped_size());
    return known;
  }
  opened->open(handle.ipc);
  place = opened;
  return opened;
}

}  // namespace hogpen::detail
