#pragma once

#include <variant>

#include "kernels/dense_cuda.h"
#include "kernels/images_cuda.h"

struct CUstream_st;

/// The layers of dense.h, convolution.h and dropout.h on the GPU: a struct says what is to be computed, `launch` lets
/// the GPU do it. An activation is computed with the layer before it, and a batch is made where it is read.
///
/// Shapes: as in those headers. Device: all is memory of the current device, but `samples` and `labels`, which may also
/// be page-locked memory of the host. Accuracy: float32, products added in another order than on the CPU. Requires:
/// images of less than 2³¹ numbers in a batch, before and behind the layer.
namespace hogpen::kernels {

using LayerOnGpu = std::variant<LinearForward, LinearBackwardInput, LinearBackwardWeight, ConvolutionForward,
                                ConvolutionBackwardInput, ConvolutionBackwardWeight, AddParts, MaxPoolForward,
                                MaxPoolBackward, DropoutForward, DropoutBackward, SkipRandom, SoftmaxCrossEntropy>;

/// Asynchronous on `stream` (a cudaStream_t; null is the default stream), and to be captured in a CUDA graph.
///
/// Throws: std::runtime_error with CUDA's own text when a launch fails, or when hogpen was built without CUDA.
void launch(const LayerOnGpu& layer, CUstream_st* stream);

}  // namespace hogpen::kernels
