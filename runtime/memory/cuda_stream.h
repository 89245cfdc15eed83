#pragma once

#include <c10/core/Device.h>

#include <cstddef>

#include "runtime/memory/cuda_driver.h"

namespace hogpen {

/// LibTorch's current stream of that GPU in the calling thread; null, the default stream, where LibTorch's CUDA
/// libraries are not loaded.
[[nodiscard]] cuda::Stream current_stream(c10::Device gpu);

/// Waits until the GPU has done what was enqueued on that stream. Throws: CudaError; what `use_gpu` throws.
void wait_for_current_stream(c10::Device gpu);

/// Copies memory of a GPU on that stream, and waits. Throws: as above.
void copy_on_gpu(void* to, const void* from, std::size_t size_bytes, c10::Device gpu);

/// Copies from the host to the GPU whose context is current, or back; done when it returns. Of the GPU's streams it
/// waits for the default one alone. Throws: CudaError.
void copy_to_gpu(void* on_gpu, const void* on_host, std::size_t size_bytes);
void copy_from_gpu(void* on_host, const void* on_gpu, std::size_t size_bytes);

}  // namespace hogpen
