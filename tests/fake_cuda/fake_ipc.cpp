// Plain allocations, and CUDA IPC of those on a GPU: a handle names a descriptor of the maker, and is of no use without
// it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/fake_cuda/fake_state.h"

using namespace fake;

namespace {

struct IpcHandle {
  std::array<char, 64> bytes;
};

struct Content {
  pid_t process;
  int fd;
  ino_t inode;
};

ino_t inode_of(int fd) {
  struct ::stat status{};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

int add_range(Address* address, std::size_t size, int fd) {
  void* const at = map_memory(nullptr, size, fd, 3);
  if (!at) return unknown;
  *address = reinterpret_cast<Address>(at);
  driver().ranges[*address] = {.size = size, .allocation_size = size, .rights = 3};
  return success;
}

void drop_range(Address address) {
  ::munmap(reinterpret_cast<void*>(address), driver().ranges[address].size);
  driver().ranges.erase(address);
}

}  // namespace

extern "C" {

int cuMemAlloc_v2(Address* address, std::size_t size) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  if (size == 0) return invalid_value;
  const int fd = make_memory(current_device(), size);
  if (fd < 0) return -fd;
  const int error = add_range(address, size, fd);
  if (error) return error;
  driver().plain[*address] = fd;
  return success;
}

int cuMemFree_v2(Address address) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  const auto found = driver().plain.find(address);
  if (found == driver().plain.end() || current_device() < 0) return invalid_value;
  ::close(found->second);
  driver().plain.erase(found);
  drop_range(address);
  return success;
}

int cuMemHostAlloc(void** memory, std::size_t size, unsigned flags) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  if (size == 0 || flags > 7) return invalid_value;
  *memory = std::malloc(size);
  driver().page_locked.insert(*memory);
  return success;
}

int cuMemFreeHost(void* memory) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (driver().page_locked.erase(memory) == 0 || current_device() < 0) return invalid_value;
  std::free(memory);
  return success;
}

int cuMemHostRegister_v2(void* memory, std::size_t size, unsigned flags) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  if (size == 0 || flags > 15 || !driver().page_locked.insert(memory).second) return invalid_value;
  return success;
}

int cuMemHostUnregister(void* memory) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  return driver().page_locked.erase(memory) == 1 ? success : invalid_value;
}

int cuMemHostGetDevicePointer_v2(Address* on_gpu, void* memory, unsigned flags) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0 || flags != 0 || !driver().page_locked.contains(memory)) return invalid_value;
  *on_gpu = reinterpret_cast<Address>(memory);
  return success;
}

int cuMemGetAddressRange_v2(Address* begin, std::size_t* size, Address address) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  const auto after = driver().ranges.upper_bound(address);
  if (after == driver().ranges.begin() || !has_rights(address, 1, 1)) return invalid_value;
  *begin = std::prev(after)->first;
  *size = std::prev(after)->second.allocation_size;
  return success;
}

int cuIpcGetMemHandle(IpcHandle* handle, Address address) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  const auto found = driver().plain.find(address);
  if (found == driver().plain.end()) return invalid_value;
  const Content content = {.process = ::getpid(), .fd = found->second, .inode = inode_of(found->second)};
  *handle = {};
  std::memcpy(handle->bytes.data(), &content, sizeof(content));
  return success;
}

int cuIpcOpenMemHandle_v2(Address* address, IpcHandle handle, unsigned flags) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (flags != 1 || current_device() < 0) return invalid_value;
  Content content{};
  std::memcpy(&content, handle.bytes.data(), sizeof(content));
  if (content.process == ::getpid()) return invalid_context;
  auto& opened = driver().opened[std::string(handle.bytes.data(), handle.bytes.size())];
  if (opened.count == 0) {
    const std::string path = "/proc/" + std::to_string(content.process) + "/fd/" + std::to_string(content.fd);
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool is_it = fd >= 0 && inode_of(fd) == content.inode && device_of_memory(fd) == current_device();
    const int error = is_it ? add_range(&opened.address, size_of(fd), fd) : invalid_value;
    if (fd >= 0) ::close(fd);
    if (error) return error;
  }
  ++opened.count;
  *address = opened.address;
  return success;
}

int cuIpcCloseMemHandle(Address address) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  for (auto it = driver().opened.begin(); it != driver().opened.end(); ++it) {
    if (it->second.count == 0 || it->second.address != address) continue;
    if (--it->second.count == 0) {
      drop_range(address);
      driver().opened.erase(it);
    }
    return success;
  }
  return invalid_value;
}
}
