#include "runtime/memory/cuda_driver.h"

#include <dlfcn.h>
#include <unistd.h>

namespace hogpen {
namespace {

constexpr const char* kDriverLibrary = "libcuda.so.1";

struct Initialised {
  CudaDriver driver;
  int gpus = driver.initialise();
  pid_t process = ::getpid();
};

const Initialised& initialised() {
  static const Initialised& instance = *new Initialised;  // Never destroyed: memory may be given back after main.
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

cuda::Device use_gpu(int ordinal) {
  const auto& [driver, gpus, process] = initialised();
  if (ordinal < 0 || ordinal >= gpus) {
    throw DeviceError(fmt::format("there is no GPU {}: this machine has {}, numbered from 0", ordinal, gpus));
  }
  cuda::Device device = 0;
  void* context = nullptr;
  driver.call("cuDeviceGet", &device, ordinal);
  driver.call("cuDevicePrimaryCtxRetain", &context, device);  // For good, as LibTorch does.
  driver.call("cuCtxSetCurrent", context);
  return device;
}

}  // namespace hogpen
