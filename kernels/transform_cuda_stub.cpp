#include <stdexcept>

#include "kernels/transform.h"

namespace hogpen::kernels {
namespace {

constexpr const char* kNoCuda = "this hogpen has no CUDA kernels: configure with HOGPEN_CUDA=ON";

}  // namespace

void transform_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, CUstream_st*) {
  throw std::runtime_error(kNoCuda);
}

void transform_through_cuda(UnaryOp, c10::ScalarType, const void*, void*, std::size_t, int) {
  throw std::runtime_error(kNoCuda);
}

bool has_cuda_kernels() noexcept {
  return false;
}

int cuda_devices() noexcept {
  return 0;
}

}  // namespace hogpen::kernels
