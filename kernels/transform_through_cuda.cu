// Host memory through the GPU. Pageable memory cannot be copied while the host does something else, so pieces go
// through page-locked buffers: while the GPU copies and computes one, the host fills and empties the others.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cuda_check.h"
#include "kernels/transform.h"

namespace hogpen::kernels {
namespace {

using detail::cuda_ok;

constexpr std::size_t kPieceBytes = std::size_t{8} << 20;
constexpr std::size_t kSlots = 3;  // one is filled or emptied, one copied there or back, one computed

/// Makes a device the current one for the time of its life.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    cuda_ok(cudaGetDevice(&before_), "cudaGetDevice");
    cuda_ok(cudaSetDevice(device), "cudaSetDevice");
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() { (void)cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

/// A piece on its way. Owns: a stream, page-locked memory and device memory, each of kPieceBytes.
class Slot {
 public:
  Slot() {
    try {
      cuda_ok(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
      cuda_ok(cudaMallocHost(&host_, kPieceBytes), "page-locked memory for the way to the GPU");
      cuda_ok(cudaMalloc(&device_, kPieceBytes), "memory of the GPU");
    } catch (...) {
      free();
      throw;
    }
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() { free(); }

  void start(UnaryOp op, c10::ScalarType dtype, const std::byte* in, std::byte* out, std::size_t n, std::size_t bytes) {
    std::memcpy(host_, in, bytes);
    cuda_ok(cudaMemcpyAsync(device_, host_, bytes, cudaMemcpyHostToDevice, stream_), "copy to the GPU");
    transform_cuda(op, dtype, device_, device_, n, stream_);
    cuda_ok(cudaMemcpyAsync(host_, device_, bytes, cudaMemcpyDeviceToHost, stream_), "copy from the GPU");
    out_ = out;
    bytes_ = bytes;
  }

  void finish() {
    if (bytes_ == 0) return;
    cuda_ok(cudaStreamSynchronize(stream_), "elementwise kernel on the GPU");
    std::memcpy(out_, host_, bytes_);
    bytes_ = 0;
  }

 private:
  void free() noexcept {
    if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
    (void)cudaFree(device_);
    (void)cudaFreeHost(host_);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }

  cudaStream_t stream_ = nullptr;
  void* host_ = nullptr;
  void* device_ = nullptr;
  std::byte* out_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace

void transform_through_cuda(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, int device) {
  const CurrentDevice current(device);
  std::array<Slot, kSlots> slots;
  const std::size_t item_bytes = c10::elementSize(dtype);
  const std::size_t piece = kPieceBytes / item_bytes;
  std::size_t next = 0;
  for (std::size_t begin = 0; begin < n; begin += piece, next = (next + 1) % kSlots) {
    const std::size_t count = std::min(piece, n - begin);
    slots[next].finish();
    slots[next].start(op, dtype, static_cast<const std::byte*>(in) + begin * item_bytes,
                      static_cast<std::byte*>(out) + begin * item_bytes, count, count * item_bytes);
  }
  for (std::size_t i = 0; i < kSlots; ++i) slots[(next + i) % kSlots].finish();
}

bool has_cuda_kernels() noexcept {
  return true;
}

int cuda_devices() noexcept {
  constexpr int kLeast = 75;  // compute capability 7.5, of the PTX that is compiled for all but sm_90
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  int usable = 0;
  for (int major = 0, minor = 0; usable < count; ++usable) {
    const bool is_known = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, usable) == cudaSuccess &&
                          cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, usable) == cudaSuccess;
    if (!is_known || 10 * major + minor < kLeast) break;
  }
  (void)cudaGetLastError();  // or the next launch would find it and take it for its own
  return usable;
}

}  // namespace hogpen::kernels
