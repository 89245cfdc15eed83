#pragma once

#include <string>

#include "apps/bench/report.h"

namespace hogpen {

/// How a figure stands beside an earlier one.
enum class Change { none, better, worse };

/// Worse or better only beyond the noise: the intervals around the medians do not overlap, and the medians differ by
/// more than `threshold_percent`. Of a rate more is better, of a time less.
[[nodiscard]] Change change_of(const Figure& before, const Figure& now, double threshold_percent);

/// What a comparison has to say, and how many figures became worse.
struct Comparison {
  int compared = 0;  ///< figures that both have
  std::string text;  ///< lines for people
  int worse = 0;
};

/// Sets each figure beside that of the same suite and name, and names those that only one run has and what differs
/// between the machines and the builds.
[[nodiscard]] Comparison compare(const Report& before, const Report& now, double threshold_percent);

}  // namespace hogpen
