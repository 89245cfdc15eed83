#include "kernels/dense_cuda.h"

#include <cuda_runtime.h>

#include <nv/target>

#include "kernels/cuda_check.h"
#include "kernels/dense_layers_block.h"

namespace hogpen::kernels {
namespace {

using detail::kGroupThreads;
using detail::kTile;

/// The block that the calling thread is of.
struct CudaBlock {
  template <class F>
  C10_HOST_DEVICE void each(const F& f) {
    NV_IF_TARGET(NV_IS_DEVICE, (f(static_cast<int>(threadIdx.x)); __syncthreads();))
  }
  template <class T>
  class PerThread {
   public:
    C10_HOST_DEVICE explicit PerThread(CudaBlock& /*block*/) {}
    C10_HOST_DEVICE T& operator[](int /*thread*/) { return mine_; }

   private:
    T mine_;
  };
};

template <int kGroups, class Layer>
__global__ void __launch_bounds__(kGroups* kGroupThreads) racy_product(Layer layer) {
  __shared__ detail::Tiles<kGroups> tiles;
  CudaBlock block;
  detail::Product product = layer.product();
  product.first_row = blockIdx.y * std::size_t{kTile};
  product.first_column = blockIdx.x * std::size_t{kTile};
  layer.run(block, tiles, product);
}

__global__ void __launch_bounds__(kGroupThreads) cross_entropy(detail::SoftmaxCrossEntropy layer) {
  __shared__ double losses[kGroupThreads];
  CudaBlock block;
  layer.run(block, losses);
}

/// One block a tile of the product.
template <class Layer>
void launch(const Layer& layer, CUstream_st* stream) {
  const detail::Product product = layer.product();
  const auto tiles = [](std::size_t n) { return static_cast<unsigned>((n + kTile - 1) / kTile); };
  const dim3 grid(tiles(product.columns), tiles(product.rows));
  if (grid.x == 0 || grid.y == 0) return;
  if (detail::groups_for(product) == 1) {
    racy_product<1><<<grid, kGroupThreads, 0, stream>>>(layer);
  } else {
    racy_product<detail::kMostGroups><<<grid, detail::kMostGroups * kGroupThreads, 0, stream>>>(layer);
  }
  detail::cuda_ok(cudaGetLastError(), "launch of a dense layer on the GPU");
}

}  // namespace

void linear_forward_cuda(const DenseInput& x, const float* w, const float* b, const Activated& y,
                         const DenseShape& shape, CUstream_st* stream) {
  launch(detail::LinearForward{x, w, b, y, shape}, stream);
}

void linear_backward_input_cuda(const float* dy, const float* w, const Activated& x, float* dz, const DenseShape& shape,
                                CUstream_st* stream) {
  launch(detail::LinearBackwardInput{dy, w, x, dz, shape}, stream);
}

void linear_backward_weight_cuda(const float* dy, const DenseInput& x, float* dw, float* db, const DenseShape& shape,
                                 CUstream_st* stream) {
  launch(detail::LinearBackwardWeight{dy, x, dw, db, shape}, stream);
}

void softmax_cross_entropy_cuda(float* logits, const std::uint8_t* labels, const std::uint32_t* samples, float* loss,
                                std::size_t rows, std::size_t classes, CUstream_st* stream) {
  cross_entropy<<<1, kGroupThreads, 0, stream>>>({logits, labels, samples, loss, rows, classes});
  detail::cuda_ok(cudaGetLastError(), "launch of the cross-entropy on the GPU");
}

}  // namespace hogpen::kernels
