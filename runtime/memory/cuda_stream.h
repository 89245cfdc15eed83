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

}  // namespace hogpen
