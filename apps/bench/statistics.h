#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace hogpen {

/// What the samples of one figure say.
struct Statistics {
  double median = 0;
  double least = 0;
  double most = 0;
  double lower_quartile = 0;
  double upper_quartile = 0;
  double low = 0;  ///< the median lies between these two with a confidence of about 95 %
  double high = 0;
  double noise_percent = 0;  ///< half of that interval's width, relative to the median
  std::size_t samples = 0;
};

/// Requires: at least one value.
[[nodiscard]] Statistics statistics_of(std::vector<double> values);

/// The ranks, from 0, of the two of `count` ordered values between which the median lies with a confidence of 95 %,
/// whatever the distribution; up to 5 values hold it between the least and the most with less (93.75 % for 5).
///
/// Source: Conover, Practical Nonparametric Statistics, 3.2: the values below the median are binomial with p = 1/2.
[[nodiscard]] std::pair<std::size_t, std::size_t> ranks_around_median(std::size_t count);

/// The median; reorders the values. Requires: at least one.
[[nodiscard]] double median(std::vector<double>& values);

}  // namespace hogpen
