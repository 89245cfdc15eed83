#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace hogpen::kernels::detail {

/// Throws: std::runtime_error "what: CUDA's own text" unless the call succeeded.
inline void cuda_ok(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // or the next launch would find it and take it for its own
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace hogpen::kernels::detail
