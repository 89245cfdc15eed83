#include "tests/fake_cuda/fake_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

// The part of NVIDIA's driver API that hogpen calls, on memfds. It is stricter than the driver: what the documentation
// asks for is an error here when it is missing, and a call from a forked child ends the process.
//
// FAKE_GPUS says how many GPUs there are; negative is the error with which cuInit fails.
namespace {

using Address = unsigned long long;
using Handle = unsigned long long;

enum Result : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  no_device = 100,
  invalid_device = 101,
  invalid_context = 201,
  not_ready = 600,
  illegal_address = 700,
  unknown = 999,
};

constexpr std::size_t kGranularity = std::size_t{2} << 20;
constexpr std::size_t kGpuBytes = std::size_t{1} << 30;
constexpr int kFirstDevice = 70;  // a device is not its ordinal
constexpr const char* kName = "fake-gpu-memory";

struct Range {
  std::size_t size = 0;
  std::size_t allocation_size = 0;  // of what is mapped there, else 0
  int rights = 0;
};

struct Driver {
  pid_t process = 0;  // 0 before cuInit
  // Several threads may each use a GPU, but not its memory.
  std::atomic<bool> has_context = false;
  std::atomic<int> calls = 0;
  std::atomic<int> busy_queries = 0;
  int failing_call = 0;
  Handle next_handle = 1;
  std::map<Handle, int> allocations;  // their memfds
  std::map<Address, Range> ranges;
};

Driver& driver() {
  static Driver instance;
  return instance;
}

int fake_gpus() {
  const char* text = std::getenv("FAKE_GPUS");
  return text ? std::atoi(text) : 0;
}

/// What every call but cuInit begins with.
Result begin_call() {
  Driver& d = driver();
  if (d.process == 0) return not_initialized;
  if (d.process != ::getpid()) {
    std::fprintf(stderr, "fake driver: a call from a child that was forked after cuInit\n");
    std::abort();
  }
  return ++d.calls == d.failing_call ? unknown : success;
}

std::size_t size_of(int fd) {
  struct ::stat status{};
  return ::fstat(fd, &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
}

bool is_gpu_memory(int fd) {
  std::array<char, 256> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return ::readlink(link.c_str(), target.data(), target.size() - 1) > 0 && std::strstr(target.data(), kName) != nullptr;
}

std::size_t bytes_in_use() {
  std::size_t bytes = 0;
  for (const auto& [handle, fd] : driver().allocations) bytes += size_of(fd);
  return bytes;
}

Handle add_allocation(int fd) {
  driver().allocations[driver().next_handle] = fd;
  return driver().next_handle++;
}

/// Whether all of it is mapped with these rights. Requires: it lies in one range.
bool has_rights(Address address, std::size_t bytes, int rights) {
  auto after = driver().ranges.upper_bound(address);
  if (after == driver().ranges.begin()) return false;
  const auto& [begin, range] = *--after;
  return address + bytes <= begin + range.allocation_size && (range.rights & rights) == rights;
}

}  // namespace

extern "C" {

int fake_driver_calls() {
  return driver().calls;
}

void fake_driver_fail_call(int count) {
  driver().failing_call = driver().calls + count;
}

void fake_driver_busy_queries(int count) {
  driver().busy_queries = count;
}

int fake_driver_live() {
  return static_cast<int>(driver().allocations.size() + driver().ranges.size());
}

int cuDriverGetVersion(int* version) {
  *version = 13020;
  return success;
}

int cuGetErrorString(int error, const char** text) {
  *text = error == no_device       ? "no CUDA-capable device is detected"
          : error == out_of_memory ? "out of memory"
          : error == invalid_value ? "invalid argument"
                                   : nullptr;
  return *text ? success : invalid_value;
}

int cuInit(unsigned) {
  if (fake_gpus() < 0) return -fake_gpus();
  if (driver().process == 0) driver().process = ::getpid();
  return begin_call();
}

int cuDeviceGetCount(int* count) {
  if (const int error = begin_call()) return error;
  *count = fake_gpus();
  return success;
}

int cuDeviceGet(int* device, int ordinal) {
  if (const int error = begin_call()) return error;
  *device = kFirstDevice + ordinal;
  return ordinal < fake_gpus() ? success : invalid_device;
}

int cuDeviceGetName(char* name, int length, int device) {
  if (const int error = begin_call()) return error;
  std::snprintf(name, static_cast<std::size_t>(length), "Fake %d", device);
  return success;
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
  if (const int error = begin_call()) return error;
  *bytes = static_cast<std::size_t>(device) << 30;
  return success;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
  if (const int error = begin_call()) return error;
  *context = &driver();
  return success;
}

int cuCtxSetCurrent(void* context) {
  if (const int error = begin_call()) return error;
  driver().has_context = context != nullptr;
  return success;
}

int cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  if (const int error = begin_call()) return error;
  if (!driver().has_context) return invalid_context;
  *free_bytes = kGpuBytes - bytes_in_use();
  *total_bytes = kGpuBytes;
  return success;
}

int cuMemGetAllocationGranularity(std::size_t* bytes, const FakeProperties* properties, int option) {
  if (const int error = begin_call()) return error;
  if (properties->type != 1 || properties->location_type != 1 || option != 0) return invalid_value;
  *bytes = kGranularity;
  return success;
}

int cuMemCreate(Handle* handle, std::size_t size, const FakeProperties* properties, unsigned long long flags) {
  if (const int error = begin_call()) return error;
  if (size == 0 || size % kGranularity != 0 || flags != 0) return invalid_value;
  if (properties->type != 1 || properties->handle_types != 1 || properties->location_type != 1) return invalid_value;
  if (properties->device < 70 || properties->device >= 70 + fake_gpus()) return invalid_device;
  if (size > kGpuBytes - bytes_in_use()) return out_of_memory;
  const int fd = ::memfd_create(kName, MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0) return unknown;
  *handle = add_allocation(fd);
  return success;
}

int cuMemExportToShareableHandle(void* shareable, Handle handle, int type, unsigned long long flags) {
  if (const int error = begin_call()) return error;
  const auto found = driver().allocations.find(handle);
  if (found == driver().allocations.end() || type != 1 || flags != 0) return invalid_value;
  const int fd = ::fcntl(found->second, F_DUPFD_CLOEXEC, 0);
  std::memcpy(shareable, &fd, sizeof(fd));
  return fd < 0 ? unknown : success;
}

int cuMemImportFromShareableHandle(Handle* handle, void* shareable, int type) {
  if (const int error = begin_call()) return error;
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(shareable));
  if (type != 1 || !is_gpu_memory(fd)) return invalid_value;
  *handle = add_allocation(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  return success;
}

int cuMemRelease(Handle handle) {
  if (const int error = begin_call()) return error;
  const auto found = driver().allocations.find(handle);
  if (found == driver().allocations.end()) return invalid_value;
  ::close(found->second);
  driver().allocations.erase(found);
  return success;
}

int cuMemAddressReserve(Address* address, std::size_t size, std::size_t alignment, Address wish,
                        unsigned long long flags) {
  if (const int error = begin_call()) return error;
  if (size == 0 || size % kGranularity != 0 || alignment != 0 || wish != 0 || flags != 0) return invalid_value;
  void* const room = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return out_of_memory;
  *address = reinterpret_cast<Address>(room);
  driver().ranges[*address] = {.size = size};
  return success;
}

int cuMemMap(Address address, std::size_t size, std::size_t offset, Handle handle, unsigned long long flags) {
  if (const int error = begin_call()) return error;
  const auto range = driver().ranges.find(address);
  const auto allocation = driver().allocations.find(handle);
  if (range == driver().ranges.end() || allocation == driver().allocations.end()) return invalid_value;
  if (range->second.size != size || range->second.allocation_size != 0 || offset != 0 || flags != 0)
    return invalid_value;
  if (size_of(allocation->second) != size) return invalid_value;
  void* const at =
      ::mmap(reinterpret_cast<void*>(address), size, PROT_NONE, MAP_SHARED | MAP_FIXED, allocation->second, 0);
  if (at == MAP_FAILED) return unknown;
  range->second.allocation_size = size;
  return success;
}

int cuMemSetAccess(Address address, std::size_t size, const FakeRights* rights, std::size_t count) {
  if (const int error = begin_call()) return error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.allocation_size != size || count != 1) return invalid_value;
  if (rights->location_type != 1 || (rights->flags != 1 && rights->flags != 3)) return invalid_value;
  range->second.rights = rights->flags;
  const int protection = rights->flags == 3 ? PROT_READ | PROT_WRITE : PROT_READ;
  return ::mprotect(reinterpret_cast<void*>(address), size, protection) == 0 ? success : unknown;
}

int cuMemUnmap(Address address, std::size_t size) {
  if (const int error = begin_call()) return error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.allocation_size != size) return invalid_value;
  ::mmap(reinterpret_cast<void*>(address), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0);
  range->second = {.size = size};
  return success;
}

int cuMemAddressFree(Address address, std::size_t size) {
  if (const int error = begin_call()) return error;
  const auto range = driver().ranges.find(address);
  if (range == driver().ranges.end() || range->second.size != size || range->second.allocation_size != 0)
    return invalid_value;
  ::munmap(reinterpret_cast<void*>(address), size);
  driver().ranges.erase(range);
  return success;
}

int cuDeviceGetUuid_v2(char* uuid, int device) {
  if (const int error = begin_call()) return error;
  if (device < kFirstDevice || device >= kFirstDevice + fake_gpus()) return invalid_device;
  std::memset(uuid, 'g', 16);
  uuid[15] = static_cast<char>(device);
  return success;
}

int cuStreamQuery(void*) {
  if (const int error = begin_call()) return error;
  if (!driver().has_context) return invalid_context;
  return driver().busy_queries > 0 && driver().busy_queries-- > 0 ? not_ready : success;
}

int cuMemcpyHtoD_v2(Address to, const void* from, std::size_t bytes) {
  if (const int error = begin_call()) return error;
  if (!driver().has_context) return invalid_context;
  if (!has_rights(to, bytes, 3)) return illegal_address;
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return success;
}

int cuMemcpyDtoH_v2(void* to, Address from, std::size_t bytes) {
  if (const int error = begin_call()) return error;
  if (!driver().has_context) return invalid_context;
  if (!has_rights(from, bytes, 1)) return illegal_address;
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return success;
}
}
