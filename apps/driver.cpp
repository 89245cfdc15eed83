#include "apps/driver.h"

#include <fmt/format.h>

#include <cstddef>

#include "runtime/memory/cuda_driver.h"

namespace hogpen {
namespace {

Gpu describe_gpu(const CudaDriver& driver, int ordinal) {
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
  try {
    const CudaDriver driver;
    int version = 0;
    driver.call("cuDriverGetVersion", &version);
    report.cuda_version = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
    const int count = driver.initialise();
    for (int ordinal = 0; ordinal < count; ++ordinal) report.gpus.push_back(describe_gpu(driver, ordinal));
  } catch (const CudaError& error) {
    report.trouble = fmt::format("the NVIDIA driver is there, but {}", error.what());
  } catch (const DeviceError& error) {
    report.trouble = error.what();
  }
  return report;
}

}  // namespace hogpen
