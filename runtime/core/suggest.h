#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hogpen {

/// The candidate that `word` was probably meant to be, for a "did you mean …?"; the first of several that are equally
/// near. Letters added, left out, changed or swapped with their neighbour count as one slip each; case does not count.
/// Nothing when more than a third of the letters would be slips.
///
/// Source: optimal string alignment distance (Damerau 1964, restricted to adjacent swaps).
[[nodiscard]] std::optional<std::string> closest(std::string_view word, std::span<const std::string> candidates);

}  // namespace hogpen
