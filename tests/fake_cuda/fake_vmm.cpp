// Virtual memory management.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "tests/fake_cuda/fake_driver.h"
#include "tests/fake_cuda/fake_state.h"

using namespace fake;

namespace {

Call begin_vmm_call() {
  Call call = begin_call();
  if (call.error == success && !has_descriptors()) call.error = not_supported;
  return call;
}

Handle add_allocation(int fd) {
  driver().allocations[driver().next_handle] = fd;
  return driver().next_handle++;
}

}  // namespace

extern "C" {

int cuMemGetAllocationGranularity(std::size_t* bytes, const FakeProperties* properties, int option) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  if (properties->type != 1 || properties->location_type != 1 || option != 0) return invalid_value;
  *bytes = kGranularity;
  return success;
}

int cuMemCreate(Handle* handle, std::size_t size, const FakeProperties* properties, unsigned long long flags) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  if (size == 0 || size % kGranularity != 0 || flags != 0) return invalid_value;
  if (properties->type != 1 || properties->handle_types != 1 || properties->location_type != 1) return invalid_value;
  if (!has_gpu(properties->device)) return invalid_device;
  const int fd = make_memory(properties->device, size);
  if (fd < 0) return -fd;
  *handle = add_allocation(fd);
  return success;
}

int cuMemExportToShareableHandle(void* shareable, Handle handle, int type, unsigned long long flags) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto found = driver().allocations.find(handle);
  if (found == driver().allocations.end() || type != 1 || flags != 0) return invalid_value;
  const int fd = ::fcntl(found->second, F_DUPFD_CLOEXEC, 0);
  std::memcpy(shareable, &fd, sizeof(fd));
  return fd < 0 ? unknown : success;
}

int cuMemImportFromShareableHandle(Handle* handle, void* shareable, int type) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(shareable));
  if (type != 1 || !has_gpu(device_of_memory(fd))) return invalid_value;
  *handle = add_allocation(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return success;
}

int cuMemRelease(Handle handle) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto found = driver().allocations.find(handle);
  if (found == driver().allocations.end()) return invalid_value;
  ::close(found->second);
  driver().allocations.erase(found);
  return success;
}

int cuMemAddressReserve(Address* address, std::size_t size, std::size_t alignment, Address wish,
                        unsigned long long flags) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  if (size == 0 || size % kGranularity != 0 || alignment != 0 || wish != 0 || flags != 0) return invalid_value;
  void* const room = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return out_of_memory;
  *address = reinterpret_cast<Address>(room);
  driver().ranges[*address] = {.size = size};
  return success;
}

int cuMemMap(Address address, std::size_t size, std::size_t offset, Handle handle, unsigned long long flags) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto range = driver().ranges.find(address);
  const auto allocation = driver().allocations.find(handle);
  if (range == driver().ranges.end() || allocation == driver().allocations.end()) return invalid_value;
  if (range->second.size != size || range->second.allocation_size != 0 || offset != 0 || flags != 0)
    return invalid_value;
  if (size_of(allocation->second) != size) return invalid_value;
  if (!map_memory(reinterpret_cast<void*>(address), size, allocation->second, 0)) return unknown;
  range->second.allocation_size = size;
  return success;
}

int cuMemSetAccess(Address address, std::size_t size, const FakeRights* rights, std::size_t count) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.allocation_size != size || count != 1) return invalid_value;
  if (rights->location_type != 1 || (rights->flags != 1 && rights->flags != 3)) return invalid_value;
  if (!has_gpu(rights->device)) return invalid_device;
  range->second.rights = rights->flags;
  const int protection = rights->flags == 3 ? PROT_READ | PROT_WRITE : PROT_READ;
  return ::mprotect(reinterpret_cast<void*>(address), size, protection) == 0 ? success : unknown;
}

int cuMemUnmap(Address address, std::size_t size) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.allocation_size != size) return invalid_value;
  ::mmap(reinterpret_cast<void*>(address), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0);
  range->second = {.size = size};
  return success;
}

int cuMemAddressFree(Address address, std::size_t size) {
  const Call call = begin_vmm_call();
  if (call.error != success) return call.error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.size != size || range->second.allocation_size != 0)
    return invalid_value;
  ::munmap(reinterpret_cast<void*>(address), size);
  driver().ranges.erase(range);
  return success;
}
}
