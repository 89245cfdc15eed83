#pragma once

#include <ATen/core/Tensor.h>

namespace hogpen {

/// Whether two elements of a strided tensor may lie in the same place. False is certain; true is not where the strides
/// are interleaved, which no slicing, transposing or expanding makes.
[[nodiscard]] bool may_overlap_itself(const at::Tensor& tensor);

/// Whether the tensors are the same elements in the same places.
[[nodiscard]] bool is_same_view(const at::Tensor& a, const at::Tensor& b);

/// Whether an element of one may lie where one of the other does. False is certain; slices of one tensor that do not
/// meet are told apart, also columns and blocks of a matrix.
///
/// Requires: one shape and dtype.
[[nodiscard]] bool may_overlap(const at::Tensor& a, const at::Tensor& b);

}  // namespace hogpen
