// The part of NVIDIA's driver API that hogpen calls, on memfds.
#include "tests/fake_cuda/fake_driver.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fake_cuda/fake_state.h"

namespace fake {
namespace {

constexpr int kFirstDevice = 70;  // so that a device is not taken for its number
constexpr const char* kName = "fake-gpu-memory-";

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : 0;
}

int first_device() {
  return kFirstDevice + number_in("FAKE_FIRST_GPU");
}

int fake_gpus() {
  return number_in("FAKE_GPUS");
}

/// What stands behind "NAME:" in the variable, where that is the name of this process; null for another.
const char* wish_for_me(const char* variable) {
  const char* const wish = std::getenv(variable);
  std::array<char, 16> name{};
  ::prctl(PR_GET_NAME, name.data());
  const std::size_t length = std::strlen(name.data());
  if (!wish || std::strncmp(wish, name.data(), length) != 0 || wish[length] != ':') return nullptr;
  return wish + length + 1;
}

void wait_if_asked() {
  if (const char* const milliseconds = wish_for_me("FAKE_DELAY")) ::usleep(1000 * std::atoi(milliseconds));
}

/// Whether the variable, NAME:N:FILE, names this process and this call, and it is the first that makes the file.
bool is_asked(const char* variable, int call) {
  const char* const wish = wish_for_me(variable);
  char* file = nullptr;
  if (!wish || std::strtol(wish, &file, 10) != call) return false;
  return ::open(file + 1, O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0;
}

std::size_t gpu_bytes() {
  const char* const text = std::getenv("FAKE_BYTES");
  return text ? std::strtoull(text, nullptr, 10) : kGpuBytes;
}

}  // namespace

Driver& driver() {
  static Driver& instance = *new Driver;  // never destroyed: memory may be given back after main
  return instance;
}

int& current_device() {
  static thread_local int device = -1;
  return device;
}

std::recursive_mutex& driver_mutex() {
  static std::recursive_mutex& mutex = *new std::recursive_mutex;
  return mutex;
}

Call begin_call() {
  std::unique_lock lock(driver_mutex());
  Driver& d = driver();
  if (d.process == 0) return {std::move(lock), not_initialized};
  if (d.process != ::getpid()) {
    std::fprintf(stderr, "fake driver: a call from a child that was forked after cuInit\n");
    std::abort();
  }
  const int call = ++d.calls;
  wait_if_asked();
  if (is_asked("FAKE_KILL", call)) ::raise(SIGKILL);
  if (is_asked("FAKE_FAULT", call)) d.is_broken = true;
  if (d.is_broken) return {std::move(lock), illegal_address};
  return {std::move(lock), call == d.failing_call ? unknown : success};
}

bool has_gpu(int device) {
  return device >= first_device() && device < first_device() + fake_gpus();
}

bool has_descriptors() {
  return std::getenv("FAKE_NO_DESCRIPTORS") == nullptr;
}

/// By this process.
std::size_t bytes_in_use(int device) {
  std::size_t bytes = 0;
  const auto add = [&](int fd) { bytes += device_of_memory(fd) == device ? size_of(fd) : 0; };
  for (const auto& [handle, fd] : driver().allocations) add(fd);
  for (const auto& [address, fd] : driver().plain) add(fd);
  return bytes;
}

int make_memory(int device, std::size_t size) {
  if (size > gpu_bytes() - bytes_in_use(device)) return -out_of_memory;
  const int fd = ::memfd_create((kName + std::to_string(device)).c_str(), MFD_CLOEXEC);
  return fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0 ? -unknown : fd;
}

int device_of_memory(int fd) {
  std::array<char, 256> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (::readlink(link.c_str(), target.data(), target.size() - 1) <= 0) return -1;
  const char* name = std::strstr(target.data(), kName);
  return name ? std::atoi(name + std::strlen(kName)) : -1;
}

std::size_t size_of(int fd) {
  struct ::stat status{};
  return ::fstat(fd, &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
}

void* map_memory(void* address, std::size_t size, int fd, int rights) {
  const int protection = rights == 0 ? PROT_NONE : rights == 1 ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const at = ::mmap(address, size, protection, MAP_SHARED | (address ? MAP_FIXED : 0), fd, 0);
  return at == MAP_FAILED ? nullptr : at;
}

bool has_rights(Address address, std::size_t bytes, int rights) {
  auto after = driver().ranges.upper_bound(address);
  if (after == driver().ranges.begin()) return false;
  const auto& [begin, range] = *--after;
  return address + bytes <= begin + range.allocation_size && (range.rights & rights) == rights;
}

}  // namespace fake

using namespace fake;

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

std::size_t fake_driver_bytes_from_host() {
  return driver().bytes_from_host;
}

int fake_driver_live() {
  return static_cast<int>(driver().allocations.size() + driver().ranges.size() + driver().page_locked.size()) +
         live_on_streams();
}

int cuDriverGetVersion(int* version) {
  *version = 13020;
  return success;
}

int cuGetErrorString(int error, const char** text) {
  *text = error == no_device         ? "no CUDA-capable device is detected"
          : error == out_of_memory   ? "out of memory"
          : error == invalid_value   ? "invalid argument"
          : error == illegal_address ? "an illegal memory access was encountered"
                                     : nullptr;
  return *text ? success : invalid_value;
}

int cuInit(unsigned) {
  if (fake_gpus() < 0) return -fake_gpus();
  const std::lock_guard guard(driver_mutex());
  if (driver().process == 0) driver().process = ::getpid();
  return begin_call().error;
}

int cuDeviceGetCount(int* count) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  *count = fake_gpus();
  return success;
}

int cuDeviceGet(int* device, int ordinal) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  *device = first_device() + ordinal;
  return has_gpu(*device) ? success : invalid_device;
}

int cuDeviceGetName(char* name, int length, int device) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  std::snprintf(name, static_cast<std::size_t>(length), "Fake %d", device);
  return success;
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  *bytes = static_cast<std::size_t>(device) << 30;
  return success;
}

int cuDeviceGetUuid_v2(char* uuid, int device) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (!has_gpu(device)) return invalid_device;
  std::memset(uuid, device, 16);
  return success;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (!has_gpu(device)) return invalid_device;
  *value = (attribute == 102 || attribute == 103) && has_descriptors();
  return success;
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (!has_gpu(device)) return invalid_device;
  *context = reinterpret_cast<void*>(static_cast<std::intptr_t>(device));
  return success;
}

int cuCtxSetCurrent(void* context) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  current_device() = static_cast<int>(reinterpret_cast<std::intptr_t>(context));
  return success;
}

int cuMemGetInfo_v2(std::size_t* free_bytes, std::size_t* total_bytes) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  *free_bytes = gpu_bytes() - bytes_in_use(current_device());
  *total_bytes = gpu_bytes();
  return success;
}

int cuMemcpyHtoD_v2(Address to, const void* from, std::size_t bytes) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  if (!has_rights(to, bytes, 3)) return illegal_address;
  driver().bytes_from_host += bytes;
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return success;
}

int cuMemcpyDtoH_v2(void* to, Address from, std::size_t bytes) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  if (current_device() < 0) return invalid_context;
  if (!has_rights(from, bytes, 1)) return illegal_address;
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return success;
}
}
