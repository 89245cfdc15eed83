#include "runtime/memory/cuda_driver.h"

#include <dlfcn.h>
#include <unistd.h>

#include <mutex>
#include <vector>

namespace hogpen {
namespace {

constexpr const char* kDriverLibrary = "libcuda.so.1";

struct Initialised {
  CudaDriver driver;
  int gpus = driver.initialise();
  pid_t process = ::getpid();
  std::mutex mutex;
  std::vector<void*> contexts{static_cast<std::size_t>(gpus)};  // the primary ones that have been retained
};

Initialised& initialised() {
  static Initialised& instance = *new Initialised;  // Never destroyed: memory may be given back after main.
  require(instance.process == ::getpid(),
          "process {} was forked from process {} after that had begun to use CUDA, which does not survive a fork: fork "
          "first",
          ::getpid(), instance.process);
  return instance;
}

}  // namespace

CudaDriver::CudaDriver() : library_(::dlopen(kDriverLibrary, RTLD_NOW | RTLD_LOCAL)) {
  if (!library_) throw DeviceError(fmt::format("no NVIDIA driver: {} cannot be loaded", kDriverLibrary));
}

int CudaDriver::initialise() const {
  int gpus = 0;
  try {
    call("cuInit", 0U);
    call("cuDeviceGetCount", &gpus);
  } catch (const CudaError& error) {
    throw DeviceError(fmt::format("the NVIDIA driver is there, but {}", error.what()));
  }
  if (gpus == 0) throw DeviceError("the NVIDIA driver has no GPU to offer");
  return gpus;
}

void* CudaDriver::symbol(const char* name) const {
  void* const found = ::dlsym(library_, name);
  if (!found) throw CudaError(fmt::format("{} has no {}", kDriverLibrary, name), cuda::kNotFound);
  return found;
}

void CudaDriver::throw_error(const char* name, int error) const {
  const char* text = nullptr;
  const auto text_of = reinterpret_cast<int (*)(int, const char**)>(symbol("cuGetErrorString"));
  if (text_of(error, &text) != 0 || !text) throw CudaError(fmt::format("{} says: error {}", name, error), error);
  throw CudaError(fmt::format("{} says: {} (error {})", name, text, error), error);
}

const CudaDriver& cuda_driver() {
  return initialised().driver;
}

namespace {

cuda::Device device_of(int ordinal) {
  const Initialised& it = initialised();
  if (ordinal < 0 || ordinal >= it.gpus) {
    throw DeviceError(fmt::format("there is no GPU {}: this machine has {}, numbered from 0", ordinal, it.gpus));
  }
  cuda::Device device = 0;
  it.driver.call("cuDeviceGet", &device, ordinal);
  return device;
}

}  // namespace

cuda::Device use_gpu(int ordinal) {
  const cuda::Device device = device_of(ordinal);
  Initialised& it = initialised();
  const std::lock_guard lock(it.mutex);
  void*& context = it.contexts[static_cast<std::size_t>(ordinal)];
  if (!context) it.driver.call("cuDevicePrimaryCtxRetain", &context, device);  // For good, as LibTorch does.
  it.driver.call("cuCtxSetCurrent", context);
  return device;
}

bool has_attribute(int attribute, cuda::Device device) {
  int value = 0;
  cuda_driver().call("cuDeviceGetAttribute", &value, attribute, device);
  return value != 0;
}

cuda::Uuid uuid_of_gpu(int ordinal) {
  cuda::Uuid uuid;
  cuda_driver().call("cuDeviceGetUuid_v2", &uuid, device_of(ordinal));
  return uuid;
}

int gpu_with(const cuda::Uuid& uuid) {
  for (int ordinal = 0; ordinal < initialised().gpus; ++ordinal) {
    if (uuid_of_gpu(ordinal) == uuid) return ordinal;
  }
  throw DeviceError("the memory is on a GPU that this process does not see",
                    "give all processes the same GPUs: compare their CUDA_VISIBLE_DEVICES");
}

GpuRoom room_on_gpu() {
  GpuRoom room;
  cuda_driver().call("cuMemGetInfo_v2", &room.free_bytes, &room.total_bytes);
  return room;
}

void throw_allocation_error(const CudaError& error, int gpu, std::size_t size_bytes) {
  if (error.code() != cuda::kOutOfMemory) throw error;
  const GpuRoom room = room_on_gpu();
  throw CudaError(fmt::format("{} bytes of GPU {} were asked for, of whose {} bytes {} are free: {}", size_bytes, gpu,
                              room.total_bytes, room.free_bytes, error.what()),
                  error.code());
}

cuda::Address allocate_on_gpu(int gpu, std::size_t size_bytes) {
  cuda::Address address = 0;
  try {
    cuda_driver().call("cuMemAlloc_v2", &address, size_bytes);
  } catch (const CudaError& error) {
    throw_allocation_error(error, gpu, size_bytes);
  }
  return address;
}

}  // namespace hogpen
