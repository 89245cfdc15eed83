#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/dropout.h"

// The layers of dense.h and dropout.h, for kernels/layers_cuda.h.
namespace hogpen::kernels {

/// x [rows, width]: values[samples[row], column]; or, where `values` is null, pixels[samples[row], column] * scale +
/// shift. The rows are those of `values` or `pixels` themselves where `samples` is null.
struct LayerInput {
  const float* values = nullptr;
  const std::uint8_t* pixels = nullptr;
  const std::uint32_t* samples = nullptr;
  float scale = 1.0F;
  float shift = 0.0F;
};

/// What f an activation y = f(z) is, and the numbers from which its slope is known.
struct Activated {
  Activation activation = Activation::identity;
  float* z = nullptr;  ///< for gelu alone
  float* y = nullptr;
};

struct DenseShape {
  std::size_t rows = 0;
  std::size_t in = 0;
  std::size_t out = 0;
};

/// y = f(x wᵀ + b), and what stood in f. `b` may be null.
struct LinearForward {
  LayerInput x;
  const float* w = nullptr;
  const float* b = nullptr;
  Activated y;
  DenseShape shape;
};

/// dz = dy w * f'(z), where x = f(z) is what the layer before computed.
struct LinearBackwardInput {
  const float* dy = nullptr;
  const float* w = nullptr;
  Activated x;
  float* dz = nullptr;
  DenseShape shape;
};

/// dw = dyᵀ x and db = the sum of dy's rows. `db` may be null.
struct LinearBackwardWeight {
  const float* dy = nullptr;
  LayerInput x;
  float* dw = nullptr;
  float* db = nullptr;
  DenseShape shape;
};

/// The mask that `draw_mask` draws when it has drawn `skipped` numbers from *state.
struct DropoutMask {
  DropoutRule rule;
  const std::uint64_t* state = nullptr;
  std::size_t skipped = 0;
  std::size_t group = 1;  ///< so many neighbours of x have one element of the mask
};

/// y = f(x * mask), for x [rows, width].
struct DropoutForward {
  LayerInput x;
  Activated y;
  DropoutMask mask;
  std::size_t rows = 0;
  std::size_t width = 0;
};

/// As LinearBackwardInput.
struct DropoutBackward {
  const float* dy = nullptr;
  DropoutMask mask;
  Activated x;
  float* dz = nullptr;
  std::size_t numel = 0;
};

/// Goes on in the stream that *state stands for, by so many numbers.
struct SkipRandom {
  std::uint64_t* state = nullptr;
  std::size_t numbers = 0;
};

/// `loss` [1] is the mean cross-entropy of softmax(logits) and the labels, a byte each: labels[samples[row]], or
/// labels[row] where `samples` is null. `logits` [rows, classes] becomes its gradient.
///
/// Requires: rows > 0; labels in [0, classes).
struct SoftmaxCrossEntropy {
  float* logits = nullptr;
  const std::uint8_t* labels = nullptr;
  const std::uint32_t* samples = nullptr;
  float* loss = nullptr;
  std::size_t rows = 0;
  std::size_t classes = 0;
};

}  // namespace hogpen::kernels
