#include "apps/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hogpen {
namespace {

// Between two ranks, in proportion, as numpy.quantile does.
double quantile(const std::vector<double>& ordered, double share) {
  const double rank = share * static_cast<double>(ordered.size() - 1);
  const auto below = static_cast<std::size_t>(rank);
  const std::size_t above = std::min(below + 1, ordered.size() - 1);
  return std::lerp(ordered[below], ordered[above], rank - static_cast<double>(below));
}

// P(X = k) of a binomial X with p = 1/2; by logarithms, since 2^-n is no double for a thousand values.
double binomial(std::size_t n, std::size_t k) {
  const auto log_factorial = [](std::size_t value) { return std::lgamma(static_cast<double>(value) + 1); };
  return std::exp(log_factorial(n) - log_factorial(k) - log_factorial(n - k) -
                  static_cast<double>(n) * std::numbers::ln2);
}

}  // namespace

std::pair<std::size_t, std::size_t> ranks_around_median(std::size_t count) {
  constexpr double kMostInATail = 0.025;
  std::size_t rank = 0;
  double tail = binomial(count, 0);
  while (2 * (rank + 1) < count) {
    tail += binomial(count, rank + 1);
    if (tail > kMostInATail) break;
    ++rank;
  }
  return {rank, count - 1 - rank};
}

Statistics statistics_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto [low, high] = ranks_around_median(values.size());
  Statistics result{.median = quantile(values, 0.5),
                    .least = values.front(),
                    .most = values.back(),
                    .lower_quartile = quantile(values, 0.25),
                    .upper_quartile = quantile(values, 0.75),
                    .low = values[low],
                    .high = values[high],
                    .samples = values.size()};
  const double width = result.high - result.low;
  if (width > 0) result.noise_percent = result.median == 0 ? 100 : 50 * width / std::abs(result.median);
  return result;
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace hogpen
