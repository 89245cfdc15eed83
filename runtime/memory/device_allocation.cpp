#include "runtime/memory/device_allocation.h"

#include <map>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/memory/device_board.h"

namespace hogpen::detail {
namespace {

// Plain allocations have no granularity of their own; the driver cuts several out of one page of this size, and CUDA
// IPC would share all of it.
constexpr std::size_t kPlainGranularity = std::size_t{2} << 20;

struct Live {
  std::mutex mutex;
  std::map<cuda::Address, std::weak_ptr<const DeviceAllocation>> allocations;
};

Live& live() {
  static Live& instance = *new Live;  // Never destroyed: memory may be given back after main.
  return instance;
}

}  // namespace

DeviceAllocation::DeviceAllocation(int gpu, std::size_t size_bytes, std::uint64_t layout_hash)
    : gpu_(gpu), size_(size_bytes), layout_hash_(layout_hash) {
  require(size_bytes > 0, "memory of GPU {} must be larger than 0 bytes", gpu);
  device_ = use_gpu(gpu);
  const std::size_t granularity = granularity_bytes(device_);
  mapped_size_ = (size_bytes + granularity - 1) / granularity * granularity;
  require(mapped_size_ >= size_bytes, "{} bytes of GPU {} are more than an address space holds", size_bytes, gpu);
}

DeviceAllocation::~DeviceAllocation() {
  {
    const std::lock_guard lock(live().mutex);
    const auto found = live().allocations.find(address_);
    if (found != live().allocations.end() && found->second.expired()) live().allocations.erase(found);
  }
  if (posted_.empty()) return;
  posted_ = {};
  if (is_of_this_process()) forget_dead_device_memory();
}

std::size_t DeviceAllocation::granularity_bytes(cuda::Device device) {
  if (!has_attribute(cuda::kVirtualMemory, device)) return kPlainGranularity;
  const cuda::AllocationProperties properties = {.location = {.device = device}};
  std::size_t bytes = 0;
  cuda_driver().call("cuMemGetAllocationGranularity", &bytes, &properties, cuda::kLeastGranularity);
  return bytes;
}

DeviceShare DeviceAllocation::share() const {
  DeviceShare share;
  share.handle = {.size_bytes = size_, .layout_hash = layout_hash_, .gpu = uuid_of_gpu(gpu_)};
  share.fd = share_as(share.handle);
  return share;
}

BlockId DeviceAllocation::post() const {
  const std::lock_guard lock(posted_mutex_);
  if (posted_.empty()) posted_ = post_device_memory(share());
  return posted_.id();
}

void DeviceAllocation::was_posted_as(SharedBlock block) const {
  const std::lock_guard lock(posted_mutex_);
  if (posted_.empty()) posted_ = std::move(block);
}

Allocation add_live(Allocation allocation) {
  const std::lock_guard lock(live().mutex);
  live().allocations.insert_or_assign(allocation->address(), allocation);
  return allocation;
}

Allocation live_at(cuda::Address address) {
  Allocation found;  // dropped without the lock, which the end of an allocation takes
  const std::lock_guard lock(live().mutex);
  const auto after = live().allocations.upper_bound(address);
  if (after == live().allocations.begin()) return nullptr;
  found = std::prev(after)->second.lock();
  const bool is_inside = found && address < found->address() + found->size_bytes();
  return is_inside && found->is_of_this_process() ? found : nullptr;
}

Allocation live_posted_as(BlockId block) {
  std::vector<Allocation> all;  // likewise
  const std::lock_guard lock(live().mutex);
  for (const auto& [address, weak] : live().allocations) {
    all.push_back(weak.lock());
    if (!all.back() || !all.back()->is_of_this_process()) continue;
    const std::lock_guard posted_lock(all.back()->posted_mutex_);
    if (all.back()->posted_.id() == block) return all.back();
  }
  return nullptr;
}

}  // namespace hogpen::detail
