#include "apps/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstddef>
#include <stdexcept>

namespace hogpen {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";

/// The few functions of the driver API that `ask_driver` calls, with the types of cuda.h, which is not needed.
///
/// Sharing: one thread. Owns: nothing; the library stays open, since the driver cannot be unloaded safely.
class Driver {
 public:
  explicit Driver(void* library) : library_(library) {}

  template <class... Args>
  void call(const char* name, Args... args) const {
    const auto function = reinterpret_cast<int (*)(Args...)>(symbol(name));
    if (const int error = function(args...); error != 0) {
      throw std::runtime_error(fmt::format("{} says: {}", name, text_of(error)));
    }
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const {
    void* const found = ::dlsym(library_, name);
    if (!found) throw std::runtime_error(fmt::format("{} has no {}", kLibrary, name));
    return found;
  }
  [[nodiscard]] std::string text_of(int error) const {
    const char* text = nullptr;
    const auto function = reinterpret_cast<int (*)(int, const char**)>(symbol("cuGetErrorString"));
    return function(error, &text) == 0 && text ? fmt::format("{} (error {})", text, error)
                                               : fmt::format("error {}", error);
  }

  void* library_;
};

Gpu describe_gpu(const Driver& driver, int ordinal) {
  int device = 0;
  char name[256] = {};
  std::size_t bytes = 0;
  driver.call("cuDeviceGet", &device, ordinal);
  driver.call("cuDeviceGetName", &name[0], static_cast<int>(sizeof(name)), device);
  driver.call("cuDeviceTotalMem_v2", &bytes, device);
  return {name, bytes};
}

}  // namespace

DriverReport ask_driver() {
  DriverReport report;
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    report.trouble = fmt::format("no NVIDIA driver: {} cannot be loaded", kLibrary);
    return report;
  }
  try {
    const Driver driver(library);
    int version = 0;
    driver.call("cuDriverGetVersion", &version);
    report.cuda_version = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
    driver.call("cuInit", 0U);
    int count = 0;
    driver.call("cuDeviceGetCount", &count);
    for (int ordinal = 0; ordinal < count; ++ordinal) report.gpus.push_back(describe_gpu(driver, ordinal));
    if (count == 0) report.trouble = "the NVIDIA driver has no GPU to offer";
  } catch (const std::runtime_error& error) {
    report.trouble = fmt::format("the NVIDIA driver is there, but {}", error.what());
  }
  return report;
}

}  // namespace hogpen
