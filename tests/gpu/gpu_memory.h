#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/device_memory.h"
#include "tests/wait_until.h"

struct CUstream_st;

/// Of the GPU of the suite, for the processes that use it.
namespace hogpen::gpu_suite {

inline constexpr int kGpu = 0;

/// What a context and the driver's own pools may change meanwhile.
inline constexpr std::uint64_t kSlackBytes = std::uint64_t{48} << 20;

[[nodiscard]] inline std::uint64_t free_bytes() {
  use_gpu(kGpu);
  return room_on_gpu().free_bytes;
}

/// Waits until as much is free as `before`, give or take; the driver frees what a dead process had when it gets to it.
/// Returns how much is free then.
inline std::uint64_t free_bytes_again(std::uint64_t before) {
  (void)wait_until(std::chrono::seconds(10), [&] { return free_bytes() + kSlackBytes >= before; });
  return free_bytes();
}

inline void write_number(const DeviceMemory& memory, std::size_t at_byte, std::uint32_t number) {
  use_gpu(memory.gpu());
  copy_to_gpu(memory.data() + at_byte, &number, sizeof(number));
}

[[nodiscard]] inline std::uint32_t read_number(const DeviceMemory& memory, std::size_t at_byte) {
  std::uint32_t number = 0;
  use_gpu(memory.gpu());
  copy_from_gpu(&number, memory.data() + at_byte, sizeof(number));
  return number;
}

/// Memory as cells of float32.
[[nodiscard]] inline float* cells_of(const DeviceMemory& memory) {
  return reinterpret_cast<float*>(memory.data());
}
inline void fill(float* cells, std::size_t n, float value) {
  const std::vector<float> values(n, value);
  copy_to_gpu(cells, values.data(), n * sizeof(float));
}
[[nodiscard]] inline std::vector<float> read_cells(const float* cells, std::size_t n) {
  std::vector<float> values(n);
  copy_from_gpu(values.data(), cells, n * sizeof(float));
  return values;
}

/// A stream of the current context that does not wait for the default one. Owns: the stream.
class Stream {
 public:
  Stream() { cuda_driver().call("cuStreamCreate", &stream_, cuda::kNonBlocking); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&&) = delete;
  ~Stream() {
    if (stream_ != nullptr) (void)cuda_driver().result_of("cuStreamDestroy_v2", stream_);
  }
  [[nodiscard]] cuda::Stream driver_stream() const noexcept { return stream_; }
  [[nodiscard]] CUstream_st* get() const noexcept { return static_cast<CUstream_st*>(stream_); }
  /// Throws: CudaError, also for what went wrong on the GPU.
  void wait() const { cuda_driver().call("cuStreamSynchronize", stream_); }

 private:
  cuda::Stream stream_ = nullptr;
};

/// In milliseconds.
template <class Body>
double milliseconds_of(const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

/// Reorders the values. Requires: at least one.
[[nodiscard]] inline double median_of(std::vector<double>& values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace hogpen::gpu_suite
