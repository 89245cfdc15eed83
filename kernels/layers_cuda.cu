#include "kernels/layers_cuda.h"

#include <cuda_runtime.h>

#include <nv/target>

#include "kernels/cuda_check.h"
#include "kernels/dense_block.h"
#include "kernels/elements_block.h"
#include "kernels/images_block.h"

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
  detail::Product product = detail::product(layer);
  product.first_row = blockIdx.y * std::size_t{kTile};
  product.first_column = blockIdx.x * std::size_t{kTile};
  product.part = blockIdx.z;
  detail::run(layer, block, tiles, product);
}

template <class Layer>
__global__ void __launch_bounds__(kGroupThreads) each_element(Layer layer) {
  const std::size_t i = blockIdx.x * std::size_t{kGroupThreads} + threadIdx.x;
  if (i < detail::elements(layer)) detail::compute(layer, i);
}

__global__ void __launch_bounds__(kGroupThreads) cross_entropy(SoftmaxCrossEntropy layer) {
  __shared__ double losses[kGroupThreads];
  CudaBlock block;
  detail::run(layer, block, losses);
}

unsigned blocks_for(std::size_t n, int size) {
  return static_cast<unsigned>((n + static_cast<std::size_t>(size) - 1) / static_cast<std::size_t>(size));
}

/// One block a tile and part of the product.
template <class Layer>
auto start(const Layer& layer, CUstream_st* stream) -> decltype(detail::product(layer), void()) {
  const detail::Product product = detail::product(layer);
  const dim3 grid(blocks_for(product.columns, kTile), blocks_for(product.rows, kTile),
                  static_cast<unsigned>(product.parts));
  if (grid.x == 0 || grid.y == 0) return;
  if (detail::groups_for(product) == 1) {
    racy_product<1><<<grid, kGroupThreads, 0, stream>>>(layer);
  } else {
    racy_product<detail::kMostGroups><<<grid, detail::kMostGroups * kGroupThreads, 0, stream>>>(layer);
  }
}

template <class Layer>
auto start(const Layer& layer, CUstream_st* stream) -> decltype(detail::elements(layer), void()) {
  const unsigned blocks = blocks_for(detail::elements(layer), kGroupThreads);
  if (blocks > 0) each_element<<<blocks, kGroupThreads, 0, stream>>>(layer);
}

void start(const SoftmaxCrossEntropy& layer, CUstream_st* stream) {
  cross_entropy<<<1, kGroupThreads, 0, stream>>>(layer);
}

}  // namespace

void launch(const LayerOnGpu& layer, CUstream_st* stream) {
  std::visit([stream](const auto& one) { start(one, stream); }, layer);
  detail::cuda_ok(cudaGetLastError(), "launch of a layer on the GPU");
}

}  // namespace hogpen::kernels
