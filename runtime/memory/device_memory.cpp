#include "runtime/memory/device_memory.h"

#include <unistd.h>

#include <cstdint>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen {
namespace {

using Flags = unsigned long long;

std::size_t granularity_of(const cuda::AllocationProperties& properties) {
  std::size_t bytes = 0;
  cuda_driver().call("cuMemGetAllocationGranularity", &bytes, &properties, cuda::kLeastGranularity);
  return bytes;
}

[[noreturn]] void throw_out_of_memory(const CudaError& error, int gpu, std::size_t size_bytes) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  cuda_driver().call("cuMemGetInfo_v2", &free_bytes, &total_bytes);
  throw CudaError(fmt::format("{} bytes of GPU {} were asked for, of whose {} bytes {} are free: {}", size_bytes, gpu,
                              total_bytes, free_bytes, error.what()),
                  error.code());
}

}  // namespace

// What has been obtained so far: the destructor gives it back, also when the next call fails.
struct DeviceMemory::State {
  State(int of_gpu, std::size_t bytes) : gpu(of_gpu), size(bytes) {
    require(size > 0, "memory of GPU {} must be larger than 0 bytes", gpu);
    properties.location.device = use_gpu(gpu);
    const std::size_t granularity = granularity_of(properties);
    mapped_size = (size + granularity - 1) / granularity * granularity;
    require(mapped_size >= size, "{} bytes of GPU {} are more than an address space holds", size, gpu);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (::getpid() != process) return;  // A forked child has no CUDA, and its parent still has the memory.
    if (is_mapped) give_back("cuMemUnmap", address, mapped_size);
    if (address != 0) give_back("cuMemAddressFree", address, mapped_size);
    if (allocation) give_back("cuMemRelease", *allocation);
  }

  void map(Access access) {
    const CudaDriver& driver = cuda_driver();
    driver.call("cuMemAddressReserve", &address, mapped_size, std::size_t{0}, cuda::Address{0}, Flags{0});
    driver.call("cuMemMap", address, mapped_size, std::size_t{0}, *allocation, Flags{0});
    is_mapped = true;
    const cuda::AccessRights rights = {.location = properties.location,
                                       .flags = access == Access::read_only ? cuda::kReadOnly : cuda::kReadWrite};
    driver.call("cuMemSetAccess", address, mapped_size, &rights, std::size_t{1});
  }

  template <class... Args>
  void give_back(const char* name, Args... args) const noexcept {
    try {
      cuda_driver().call(name, args...);
    } catch (const Error& error) {
      log(LogLevel::warning, "memory of GPU {} was not given back: {}", gpu, error.what());
    }
  }

  int gpu;
  std::size_t size;
  std::size_t mapped_size = 0;
  pid_t process = ::getpid();
  cuda::AllocationProperties properties;
  std::optional<cuda::Allocation> allocation;
  cuda::Address address = 0;
  bool is_mapped = false;
};

DeviceMemory DeviceMemory::create(int gpu, std::size_t size_bytes) {
  const auto state = std::make_shared<State>(gpu, size_bytes);
  cuda::Allocation allocation = 0;
  try {
    cuda_driver().call("cuMemCreate", &allocation, state->mapped_size, &state->properties, Flags{0});
  } catch (const CudaError& error) {
    if (error.code() == cuda::kOutOfMemory) throw_out_of_memory(error, gpu, size_bytes);
    throw;
  }
  state->allocation = allocation;
  state->map(Access::read_write);
  return DeviceMemory(state);
}

DeviceMemory DeviceMemory::attach(const Fd& fd, int gpu, std::size_t size_bytes, Access access) {
  const auto state = std::make_shared<State>(gpu, size_bytes);
  cuda::Allocation allocation = 0;
  void* const handle = reinterpret_cast<void*>(static_cast<std::intptr_t>(fd.get()));
  cuda_driver().call("cuMemImportFromShareableHandle", &allocation, handle, cuda::kFileDescriptor);
  state->allocation = allocation;
  state->map(access);
  return DeviceMemory(state);
}

std::size_t DeviceMemory::granularity_bytes(int gpu) {
  return granularity_of({.location = {.device = use_gpu(gpu)}});
}

Fd DeviceMemory::share() const {
  int fd = -1;
  cuda_driver().call("cuMemExportToShareableHandle", static_cast<void*>(&fd), *state_->allocation,
                     cuda::kFileDescriptor, Flags{0});
  return Fd(fd);
}

std::byte* DeviceMemory::data() const noexcept {
  return reinterpret_cast<std::byte*>(state_->address);
}

std::size_t DeviceMemory::size_bytes() const noexcept {
  return state_->size;
}

int DeviceMemory::gpu() const noexcept {
  return state_->gpu;
}

}  // namespace hogpen
