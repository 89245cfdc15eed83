// The kernels of dense_cuda.h for the fake driver, whose memory the host can use: the same steps as on a GPU, run by
// the host block by block. Linked into a test, they stand in the place of hogpen's own.
#include <limits>
#include <memory>

#include "kernels/dense_cuda.h"
#include "kernels/dense_layers_block.h"
#include "tests/fake_cuda/fake_kernels.h"
#include "tests/fake_cuda/host_block.h"

namespace hogpen::kernels {
namespace {

using detail::kGroupThreads;
using detail::kTile;

template <int kGroups, class Layer>
void run_blocks(const Layer& layer) {
  const auto tiles = std::make_unique<detail::Tiles<kGroups>>();
  HostBlock block(kGroups * kGroupThreads);
  detail::Product product = layer.product();
  for (product.first_row = 0; product.first_row < product.rows; product.first_row += kTile) {
    for (product.first_column = 0; product.first_column < product.columns; product.first_column += kTile) {
      // What is there when a block begins is no number.
      std::fill_n(&tiles->left[0][0][0], sizeof(*tiles) / sizeof(float), std::numeric_limits<float>::quiet_NaN());
      layer.run(block, *tiles, product);
    }
  }
}

template <class Layer>
void launch(const Layer& layer, CUstream_st* stream) {
  enqueue(stream, [layer] {
    if (detail::groups_for(layer.product()) == 1) return run_blocks<1>(layer);
    run_blocks<detail::kMostGroups>(layer);
  });
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
  enqueue(stream, [=] {
    double losses[kGroupThreads];
    HostBlock block(kGroupThreads);
    detail::SoftmaxCrossEntropy{logits, labels, samples, loss, rows, classes}.run(block, losses);
  });
}

}  // namespace hogpen::kernels
