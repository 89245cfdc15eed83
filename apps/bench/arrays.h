#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "apps/bench/recorder.h"
#include "runtime/work/team.h"

namespace hogpen {

/// The length of arrays of float32 of which `arrays` may be there at a time: a power of two, no more than `wished`,
/// than the user allows, and than fit into a quarter of the memory that is free.
[[nodiscard]] std::int64_t most_elements(const Recorder& recorder, std::size_t arrays, std::int64_t wished);

/// float32 in shared memory, every page of it touched: values between -5 and 5.
[[nodiscard]] at::Tensor filled_array(std::int64_t elements);

/// Calls body(begin, count) for pieces of `elements` by a team, pieces as long as elementwise ops take them.
template <class Body>
void for_each_piece(Team& team, std::int64_t elements, const Body& body) {
  constexpr std::size_t kPiece = std::size_t{1} << 18;
  const auto all = static_cast<std::size_t>(elements);
  team.for_each((all + kPiece - 1) / kPiece,
                [&](std::size_t i) { body(i * kPiece, std::min(kPiece, all - i * kPiece)); });
}

}  // namespace hogpen
