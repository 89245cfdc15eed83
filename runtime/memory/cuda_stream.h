#pragma once

#include <c10/core/Device.h>

#include <cstddef>

namespace hogpen {

/// Waits until the GPU has done what was enqueued on LibTorch's current stream; on the default stream where LibTorch's
/// CUDA libraries are not loaded. Throws: CudaError; what `use_gpu` throws.
void wait_for_current_stream(c10::Device gpu);

/// Copies memory of a GPU on that stream, and waits. Throws: as above.
void copy_on_gpu(void* to, const void* from, std::size_t size_bytes, c10::Device gpu);

}  // namespace hogpen
