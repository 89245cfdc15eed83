#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "kernels/unary_op.h"
#include "runtime/work/executor.h"

/// exp, square and their like on tensors, by who is fastest: the calling thread for small ones, threads for large ones,
/// a pool of processes for large ones in shared memory, a GPU for tensors that lie there.
///
/// Shapes: any, also strided: columns, transposed matrices, views of an Arena. Dtypes: float32, float64, bfloat16,
/// float16. Accuracy, Special values: those of kernels/transform.h, in every place.
/// Device: a CUDA tensor is worked on by its GPU, asynchronously on the current stream; all else returns when done.
/// Host data whose trip through a GPU fails, out of memory for example, is done by threads instead, and the log says
/// so; not where the place was asked for, nor in place, of which part may be done.
///
/// Requires: nobody else writes the tensors meanwhile.
/// Throws: UsageError for another dtype, an output of another shape, dtype or device, one that may overlap itself, or
/// overlap the input without being it (runtime/work/overlap.h), and tensors that require a gradient while gradients are
/// recorded; what the place throws.
namespace hogpen {

/// Where `transform`, or `transform_into`, would do it, and why.
[[nodiscard]] Choice choose(kernels::UnaryOp op, const at::Tensor& in, const Executor& executor);
[[nodiscard]] Choice choose(kernels::UnaryOp op, const at::Tensor& in, const at::Tensor& out, const Executor& executor);

/// A new tensor, as at::empty_like makes it; contiguous and in shared memory when processes fill it.
[[nodiscard]] at::Tensor transform(kernels::UnaryOp op, const at::Tensor& in, Executor& executor);
/// Into a tensor of the same shape and dtype; `out` may be `in`, but not for processes.
void transform_into(kernels::UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& executor);
/// Each of several, which are on one device, all at once.
[[nodiscard]] std::vector<at::Tensor> transform(kernels::UnaryOp op, std::span<const at::Tensor> chunks,
                                                Executor& executor);

#define HOGPEN_UNARY(name)                                                         \
  [[nodiscard]] inline at::Tensor name(const at::Tensor& in, Executor& executor) { \
    return transform({kernels::UnaryOp::Kind::name}, in, executor);                \
  }                                                                                \
  inline const at::Tensor& name##_(const at::Tensor& in, Executor& executor) {     \
    transform_into({kernels::UnaryOp::Kind::name}, in, in, executor);              \
    return in;                                                                     \
  }
HOGPEN_UNARY(exp)
HOGPEN_UNARY(log)
HOGPEN_UNARY(sigmoid)
HOGPEN_UNARY(tanh)
HOGPEN_UNARY(relu)
HOGPEN_UNARY(sqrt)
HOGPEN_UNARY(abs)
HOGPEN_UNARY(negate)
HOGPEN_UNARY(square)
#undef HOGPEN_UNARY

/// scale * in + shift.
[[nodiscard]] inline at::Tensor scale_shift(const at::Tensor& in, double scale, double shift, Executor& executor) {
  return transform({kernels::UnaryOp::Kind::scale_shift, scale, shift}, in, executor);
}
inline const at::Tensor& scale_shift_(const at::Tensor& in, double scale, double shift, Executor& executor) {
  transform_into({kernels::UnaryOp::Kind::scale_shift, scale, shift}, in, in, executor);
  return in;
}

}  // namespace hogpen
