#pragma once

#include <cstddef>
#include <span>

namespace hogpen::kernels {

/// The heart of an all-reduce in shared memory: for each i < numel every array gets, at i,
/// (0 + arrays[0][i] + arrays[1][i] + …) / divisor.
///
/// Dtypes: float, double. Accuracy: one rounding an addition, in the order of the arrays, and one for the division: the
/// same bits on every machine. Sharing: what others hold of these ranges they may not touch meanwhile.
/// Requires: the ranges do not overlap.
template <class T>
void sum_into_all(std::span<T* const> arrays, std::size_t numel, T divisor);

}  // namespace hogpen::kernels
