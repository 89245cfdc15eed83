#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "apps/bench/recorder.h"

namespace hogpen {

/// The length of arrays of float32 of which `arrays` may be there at a time: a power of two, no more than `wished`,
/// than the user allows, and than fit into a quarter of the memory that is free.
[[nodiscard]] std::int64_t most_elements(const Recorder& recorder, std::size_t arrays, std::int64_t wished);

/// float32 in shared memory, every page of it touched: values between -5 and 5.
[[nodiscard]] at::Tensor filled_array(std::int64_t elements);

/// The part [begin, end) of `elements` for the i-th of `workers`; begins at multiples of 16, so that no two write into
/// the same line of a cache.
[[nodiscard]] constexpr std::pair<std::size_t, std::size_t> share_of(std::size_t elements, std::size_t i,
                                                                     std::size_t workers) {
  const auto bound = [&](std::size_t k) { return k == workers ? elements : elements * k / workers / 16 * 16; };
  return {bound(i), bound(i + 1)};
}

}  // namespace hogpen
