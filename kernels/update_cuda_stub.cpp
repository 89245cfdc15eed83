#include <stdexcept>

#include "kernels/update.h"

namespace hogpen::kernels {
namespace {

[[noreturn]] void no_cuda() {
  throw std::runtime_error("this hogpen has no CUDA kernels: configure with HOGPEN_CUDA=ON");
}

}  // namespace

void sgd_cuda(Write, float*, const float*, float*, std::size_t, const SgdScalars*, const float*, CUstream_st*) {
  no_cuda();
}

void adam_cuda(Write, float*, const float*, float*, float*, std::size_t, const AdamScalars*, const float*,
               CUstream_st*) {
  no_cuda();
}

void adamw_cuda(Write, float*, const float*, float*, float*, std::size_t, const AdamScalars*, const float*,
                CUstream_st*) {
  no_cuda();
}

void adagrad_cuda(Write, float*, const float*, float*, std::size_t, const AdagradScalars*, const float*, CUstream_st*) {
  no_cuda();
}

void rmsprop_cuda(Write, float*, const float*, float*, float*, std::size_t, const RmspropScalars*, const float*,
                  CUstream_st*) {
  no_cuda();
}

void begin_step_cuda(std::int64_t*, const double*, double*, std::int64_t*, const float*, CUstream_st*) {
  no_cuda();
}

void merge_cuda(Write, Write, float*, float*, float*, std::size_t, CUstream_st*) {
  no_cuda();
}

}  // namespace hogpen::kernels
