#include "kernels/no_cuda.h"
#include "kernels/update.h"

namespace hogpen::kernels {

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
