#include "kernels/dense_cuda.h"

#include "kernels/no_cuda.h"

namespace hogpen::kernels {

void linear_forward_cuda(const DenseInput&, const float*, const float*, const Activated&, const DenseShape&,
                         CUstream_st*) {
  no_cuda();
}

void linear_backward_input_cuda(const float*, const float*, const Activated&, float*, const DenseShape&, CUstream_st*) {
  no_cuda();
}

void linear_backward_weight_cuda(const float*, const DenseInput&, float*, float*, const DenseShape&, CUstream_st*) {
  no_cuda();
}

void softmax_cross_entropy_cuda(float*, const std::uint8_t*, const std::uint32_t*, float*, std::size_t, std::size_t,
                                CUstream_st*) {
  no_cuda();
}

}  // namespace hogpen::kernels
