#include <stdexcept>

#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

[[noreturn]] void no_cuda() {
  throw std::runtime_error("this suite has no CUDA kernels: configure with HOGPEN_CUDA=ON");
}

}  // namespace

bool run_on(bool) noexcept {
  return false;
}

void add_atomically(float*, std::size_t, std::uint64_t, CUstream_st*) {
  no_cuda();
}

void add_plainly(float*, std::size_t, std::uint64_t, CUstream_st*) {
  no_cuda();
}

void work_for(std::uint64_t, float*, CUstream_st*) {
  no_cuda();
}

void small_work(float*, CUstream_st*) {
  no_cuda();
}

void store(float*, float, CUstream_st*) {
  no_cuda();
}

}  // namespace hogpen::gpu_suite
