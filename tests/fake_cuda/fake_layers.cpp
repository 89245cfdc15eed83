// The layers of layers_cuda.h for the fake driver, whose memory the host can use: the same steps as on a GPU, run by
// the host block by block. Linked into a test, they stand in the place of hogpen's own.
#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/dense_block.h"
#include "kernels/elements_block.h"
#include "kernels/images_block.h"
#include "kernels/layers_cuda.h"
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
  detail::Product product = detail::product(layer);
  for (product.part = 0; product.part < product.parts; ++product.part) {
    for (product.first_row = 0; product.first_row < product.rows; product.first_row += kTile) {
      for (product.first_column = 0; product.first_column < product.columns; product.first_column += kTile) {
        // What is there when a block begins is no number.
        std::fill_n(&tiles->left[0][0][0], sizeof(*tiles) / sizeof(float), std::numeric_limits<float>::quiet_NaN());
        detail::run(layer, block, *tiles, product);
      }
    }
  }
}

template <class Layer>
auto run(const Layer& layer) -> decltype(detail::product(layer), void()) {
  if (detail::groups_for(detail::product(layer)) == 1) return run_blocks<1>(layer);
  run_blocks<detail::kMostGroups>(layer);
}

template <class Layer>
auto run(const Layer& layer) -> decltype(detail::elements(layer), void()) {
  for (std::size_t i = 0; i < detail::elements(layer); ++i) detail::compute(layer, i);
}

void run(const SoftmaxCrossEntropy& layer) {
  double losses[kGroupThreads];
  HostBlock block(kGroupThreads);
  detail::run(layer, block, losses);
}

}  // namespace

void launch(const LayerOnGpu& layer, CUstream_st* stream) {
  enqueue(stream, [layer] { std::visit([](const auto& one) { run(one); }, layer); });
}

}  // namespace hogpen::kernels
