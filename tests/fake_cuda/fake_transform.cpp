// Lets a test pass for a hogpen that was built with CUDA kernels: see fake_kernels.cpp and fake_layers.cpp. The
// elementwise ones are not among them.
#include <stdexcept>

#include "kernels/transform.h"

namespace hogpen::kernels {

bool has_cuda_kernels() noexcept {
  return true;
}

int cuda_devices() noexcept {
  return 0;
}

void transform_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, CUstream_st*) {
  throw std::logic_error("elementwise kernels have no fake");
}

void transform_through_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, int) {
  throw std::logic_error("elementwise kernels have no fake");
}

}  // namespace hogpen::kernels
