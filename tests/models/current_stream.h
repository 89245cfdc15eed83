#pragma once

#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace hogpen {

/// What LibTorch's CUDA libraries would say of the current stream, were they loaded. For the process' life: LibTorch
/// keeps it. Null at first, the default stream.
class CurrentStream final : public c10::impl::DeviceGuardImplInterface {
 public:
  static void set(void* stream) {
    static CurrentStream& instance = *new CurrentStream;
    c10::impl::registerDeviceGuard(c10::DeviceType::CUDA, &instance);
    instance.stream_ = stream;
  }

  [[nodiscard]] c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
  [[nodiscard]] c10::Device getDevice() const override { return {c10::DeviceType::CUDA, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  [[nodiscard]] c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  [[nodiscard]] void* getStreamNativeHandle(const c10::Stream) const override { return stream_; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override { return 1; }

 private:
  void* stream_ = nullptr;
};

}  // namespace hogpen
