#include <stdexcept>

#include "kernels/update.h"

namespace hogpen::kernels {

void sgd_cuda(Write, float*, const float*, float*, std::size_t, const SgdScalars&, CUstream_st*) {
  throw std::runtime_error("this hogpen has no CUDA kernels: configure with HOGPEN_CUDA=ON");
}

}  // namespace hogpen::kernels
