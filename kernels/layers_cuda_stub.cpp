#include "kernels/layers_cuda.h"
#include "kernels/no_cuda.h"

namespace hogpen::kernels {

void launch(const LayerOnGpu&, CUstream_st*) {
  no_cuda();
}

}  // namespace hogpen::kernels
