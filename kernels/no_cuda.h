#pragma once

#include <stdexcept>

namespace hogpen::kernels {

/// What the kernels for GPUs do in a hogpen that was built without CUDA.
[[noreturn]] inline void no_cuda() {
  throw std::runtime_error("this hogpen has no CUDA kernels: configure with HOGPEN_CUDA=ON");
}

}  // namespace hogpen::kernels
