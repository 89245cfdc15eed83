#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/core/error.h"

/// What hogpen needs of cuda.h, declared here: it builds without NVIDIA's headers and starts without its driver.
/// Source: cuda.h of CUDA 13.0, with which tests/memory/cuda_types.cpp compares them.
namespace hogpen::cuda {

using Device = int;
using Address = unsigned long long;  // as in cuda.h
using Allocation = unsigned long long;
using Stream = void*;

constexpr int kInvalidValue = 1;
constexpr int kOutOfMemory = 2;
constexpr int kNotFound = 500;
constexpr int kNotReady = 600;
constexpr int kDeviceMemory = 1;          ///< CU_MEM_LOCATION_TYPE_DEVICE, CU_MEM_ALLOCATION_TYPE_PINNED
constexpr int kFileDescriptor = 1;        ///< CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
constexpr int kLeastGranularity = 0;      ///< CU_MEM_ALLOC_GRANULARITY_MINIMUM
constexpr int kVirtualMemory = 102;       ///< CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
constexpr int kCanGiveDescriptors = 103;  ///< CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED
constexpr unsigned kLazyPeerAccess = 1;   ///< CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
constexpr unsigned kForAllGpus = 3;       ///< CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP
constexpr unsigned kNonBlocking = 1;      ///< CU_STREAM_NON_BLOCKING
constexpr unsigned kNoTiming = 2;         ///< CU_EVENT_DISABLE_TIMING
constexpr int kRelaxedCapture = 2;        ///< CU_STREAM_CAPTURE_MODE_RELAXED
constexpr int kReadOnly = 1;              ///< CU_MEM_ACCESS_FLAGS_PROT_READ
constexpr int kReadWrite = 3;             ///< CU_MEM_ACCESS_FLAGS_PROT_READWRITE

/// The same in every process, whatever number the GPU has there.
struct Uuid {
  std::array<char, 16> bytes = {};
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

struct IpcHandle {
  std::array<char, 64> bytes = {};
  friend auto operator<=>(const IpcHandle&, const IpcHandle&) = default;
};

[[nodiscard]] inline Address address_of(const void* on_gpu) noexcept {
  return reinterpret_cast<Address>(on_gpu);
}

struct Location {
  int type = kDeviceMemory;
  Device device = 0;
};

struct AllocationProperties {
  int type = kDeviceMemory;
  int handle_types = kFileDescriptor;
  Location location;
  void* win32 = nullptr;
  std::uint64_t flags = 0;
};

struct AccessRights {
  Location location;
  int flags = kReadWrite;
};

}  // namespace hogpen::cuda

namespace hogpen {

/// A call of NVIDIA's driver failed.
class CudaError : public Error {
 public:
  CudaError(const std::string& message, int code) : Error(message), code_(code) {}
  [[nodiscard]] int code() const noexcept { return code_; }  ///< a CUresult

 private:
  int code_;
};

/// NVIDIA's driver, opened at run time.
///
/// Sharing: all threads; not processes: what it gives is of no use in a child that is forked later.
/// Owns: nothing; the library stays open, since it cannot be unloaded safely.
class CudaDriver {
 public:
  /// Opens libcuda.so.1. Throws: DeviceError when there is none.
  CudaDriver();

  /// Initialises it for this process. Returns how many GPUs it has, at least one.
  ///
  /// Throws: DeviceError with the reason when it has none or cannot be used.
  int initialise() const;

  /// Calls a function of the driver API by its name. Requires: arguments of the very types that cuda.h declares.
  ///
  /// Throws: CudaError with the name and the driver's own text when it returns an error, or has no such function.
  template <class... Args>
  void call(const char* name, Args... args) const {
    if (const int error = result_of(name, args...); error != 0) throw_error(name, error);
  }

  /// The same for a function whose result is an answer, such as `kNotReady`.
  template <class... Args>
  [[nodiscard]] int result_of(const char* name, Args... args) const {
    return reinterpret_cast<int (*)(Args...)>(symbol(name))(args...);
  }
  [[noreturn]] void throw_error(const char* name, int error) const;

 private:
  [[nodiscard]] void* symbol(const char* name) const;

  void* library_;
};

/// The driver of this process, initialised.
///
/// Throws: DeviceError when there is no driver or no GPU; UsageError in a child of a process that called this before:
/// CUDA does not survive a fork.
[[nodiscard]] const CudaDriver& cuda_driver();

/// Makes the primary context of the GPU current for the calling thread; LibTorch uses the same. Returns the GPU.
///
/// Throws: DeviceError for a number that no GPU has; CudaError.
cuda::Device use_gpu(int ordinal);

/// Whether an attribute of the GPU is not 0. Throws: CudaError.
[[nodiscard]] bool has_attribute(int attribute, cuda::Device device);

/// Throws: as `use_gpu`.
[[nodiscard]] cuda::Uuid uuid_of_gpu(int ordinal);
/// Its number in this process. Throws: DeviceError when this process sees no such GPU; CudaError.
[[nodiscard]] int gpu_with(const cuda::Uuid& uuid);

struct GpuRoom {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
};
/// Of the GPU whose context is current. Throws: CudaError.
[[nodiscard]] GpuRoom room_on_gpu();
/// Throws `error`, which came when so much memory of the GPU was asked for: out of memory, it says how much is free.
[[noreturn]] void throw_allocation_error(const CudaError& error, int gpu, std::size_t size_bytes);

/// Memory of GPU `gpu`, whose context is current: `cuMemFree_v2` gives it back. Throws: CudaError, as above.
[[nodiscard]] cuda::Address allocate_on_gpu(int gpu, std::size_t size_bytes);

}  // namespace hogpen
