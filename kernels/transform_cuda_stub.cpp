#include "kernels/no_cuda.h"
#include "kernels/transform.h"

namespace hogpen::kernels {

void transform_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, CUstream_st*) {
  no_cuda();
}

void transform_through_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, int) {
  no_cuda();
}

bool has_cuda_kernels() noexcept {
  return false;
}

int cuda_devices() noexcept {
  return 0;
}

}  // namespace hogpen::kernels
