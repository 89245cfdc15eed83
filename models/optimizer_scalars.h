#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/update.h"
#include "models/optimizer.h"

namespace hogpen::detail {

/// What one update goes over. A state buffer that the optimizer does not have is null.
struct UpdateArrays {
  float* parameters;
  const float* gradients;
  float* first;
  float* second;
  std::size_t n;
};

inline kernels::SgdScalars sgd_scalars(const OptimizerOptions& o, double lr, std::int64_t step) {
  return {.lr = lr,
          .momentum = o.momentum,
          .dampening = o.dampening,
          .weight_decay = o.weight_decay,
          .nesterov = o.nesterov,
          .step = step};
}

/// Also AdamW's.
inline kernels::AdamScalars adam_scalars(const OptimizerOptions& o, double lr, std::int64_t step) {
  return {.lr = lr, .beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .weight_decay = o.weight_decay, .step = step};
}

inline kernels::AdagradScalars adagrad_scalars(const OptimizerOptions& o, double lr, std::int64_t step) {
  return {.lr = lr, .lr_decay = o.lr_decay, .eps = o.eps, .weight_decay = o.weight_decay, .step = step};
}

inline kernels::RmspropScalars rmsprop_scalars(const OptimizerOptions& o, double lr) {
  return {.lr = lr, .alpha = o.alpha, .eps = o.eps, .momentum = o.momentum, .weight_decay = o.weight_decay};
}

}  // namespace hogpen::detail
