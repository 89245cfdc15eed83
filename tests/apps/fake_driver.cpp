#include <cstddef>
#include <cstdio>
#include <cstdlib>

// The part of NVIDIA's driver API that `hogpen info` calls. FAKE_GPUS says how many there are; negative is the error
// with which cuInit fails.
namespace {

int fake_gpus() {
  const char* text = std::getenv("FAKE_GPUS");
  return text ? std::atoi(text) : 0;
}

}  // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = 13020;
  return 0;
}

int cuInit(unsigned) {
  return fake_gpus() < 0 ? -fake_gpus() : 0;
}

int cuGetErrorString(int error, const char** text) {
  *text = error == 100 ? "no CUDA-capable device is detected" : nullptr;
  return error == 100 ? 0 : 1;
}

int cuDeviceGetCount(int* count) {
  *count = fake_gpus();
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = 70 + ordinal;
  return ordinal < fake_gpus() ? 0 : 101;
}

int cuDeviceGetName(char* name, int length, int device) {
  std::snprintf(name, static_cast<std::size_t>(length), "Fake %d", device);
  return 0;
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
  *bytes = static_cast<std::size_t>(device) << 30;
  return 0;
}
}
