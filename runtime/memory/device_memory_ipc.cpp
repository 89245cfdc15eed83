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

  void allocate(std::size_t size_bytes) {
    try {
      cuda_driver().call("cuMemAlloc_v2", &address_, mapped_size_);
    } catch (const CudaError& error) {
      throw_allocation_error(error, gpu_, size_bytes);
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

// A process cannot open a handle of memory that it made itself: it is given what it has.
struct MadeHere {
  std::mutex mutex;
  std::map<cuda::IpcHandle, std::weak_ptr<const IpcAllocation>> allocations;
};

MadeHere& made_here() {
  static MadeHere& instance = *new MadeHere;  // Never destroyed: memory may be given back after main.
  return instance;
}

IpcAllocation::~IpcAllocation() {
  if (!is_of_this_process() || address_ == 0) return;
  if (is_anothers_) {
    give_back("cuIpcCloseMemHandle", address_);
    return;
  }
  {
    const std::lock_guard lock(made_here().mutex);
    made_here().allocations.erase(handle_);
  }
  give_back("cuMemFree_v2", address_);
}

}  // namespace

std::shared_ptr<const DeviceAllocation> create_ipc(int gpu, std::size_t size_bytes) {
  const auto made = std::make_shared<IpcAllocation>(gpu, size_bytes);
  made->allocate(size_bytes);
  const std::lock_guard lock(made_here().mutex);
  made_here().allocations.insert_or_assign(made->handle(), made);
  return made;
}

std::shared_ptr<const DeviceAllocation> attach_ipc(const cuda::IpcHandle& handle, int gpu, std::size_t size_bytes) {
  const auto opened = std::make_shared<IpcAllocation>(gpu, size_bytes);  // checks the size, and uses the GPU
  {
    const std::lock_guard lock(made_here().mutex);
    const auto found = made_here().allocations.find(handle);
    if (found != made_here().allocations.end()) {
      if (const auto made = found->second.lock()) {
        opened->check_size(made->mapped_size());
        return made;
      }
    }
  }
  opened->open(handle);
  return opened;
}

}  // namespace hogpen::detail
