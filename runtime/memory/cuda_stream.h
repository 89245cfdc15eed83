#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <unistd.h>

#include <cstddef>
#include <optional>

#include "runtime/memory/cuda_driver.h"

namespace hogpen {

/// A stream of its own for the calling thread, until this is destroyed: work of several threads runs side by side, and
/// can be captured, which the default stream's cannot. Where LibTorch's CUDA libraries are loaded its operations go
/// there too.
///
/// Sharing: the thread that made it. Owns: the stream. A forked child gives nothing back.
class OwnStream {
 public:
  /// Makes the GPU current. Throws: what `use_gpu` throws.
  explicit OwnStream(c10::Device gpu);
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  /// Waits for what is on the stream.
  ~OwnStream();

  /// Waits until the GPU has done what was enqueued. Throws: CudaError.
  void wait() const;

 private:
  c10::Device gpu_;
  pid_t process_ = ::getpid();
  std::optional<c10::Stream> before_;  // LibTorch's, to be current again
};

/// The calling thread's stream for that GPU: of an OwnStream, else LibTorch's current one; null, the default stream,
/// where LibTorch's CUDA libraries are not loaded.
[[nodiscard]] cuda::Stream current_stream(c10::Device gpu);

/// Waits until the GPU has done what was enqueued on that stream. Throws: CudaError; what `use_gpu` throws.
void wait_for_current_stream(c10::Device gpu);

/// Copies memory of a GPU on that stream, and waits. Throws: as above.
void copy_on_gpu(void* to, const void* from, std::size_t size_bytes, c10::Device gpu);

/// Enqueues a copy to the GPU, or back, on a stream. Requires: the host's memory is page-locked, and stays as it is
/// until the copy is done. Throws: CudaError.
void enqueue_copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes, cuda::Stream stream);
void enqueue_copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes, cuda::Stream stream);

/// Copies from the host to the GPU whose context is current, or back; done when it returns. Of the GPU's streams it
/// waits for the default one alone. Throws: CudaError.
void copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes);
void copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes);

}  // namespace hogpen
