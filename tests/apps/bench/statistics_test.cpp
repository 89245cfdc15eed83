#include "apps/bench/statistics.h"

#include <gtest/gtest.h>

#include <numeric>

namespace hogpen {
namespace {

using Ranks = std::pair<std::size_t, std::size_t>;

std::vector<double> one_to(std::size_t count) {
  std::vector<double> values(count);
  std::iota(values.rbegin(), values.rend(), 1.0);
  return values;
}

TEST(Median, OfAnEvenCountLiesBetweenTheTwoInTheMiddle) {
  std::vector<double> values = {9, 1, 4, 2};
  EXPECT_EQ(median(values), 3);
}

// From a table of the binomial distribution with p = 1/2, whose ranks count from 1: 1 and 6, 2 and 8, …
TEST(RanksAroundMedian, AreThoseOfTheBinomialTable) {
  EXPECT_EQ(ranks_around_median(1), Ranks(0, 0));
  EXPECT_EQ(ranks_around_median(2), Ranks(0, 1));
  EXPECT_EQ(ranks_around_median(5), Ranks(0, 4));
  EXPECT_EQ(ranks_around_median(6), Ranks(0, 5));
  EXPECT_EQ(ranks_around_median(8), Ranks(0, 7));
  EXPECT_EQ(ranks_around_median(9), Ranks(1, 7));
  EXPECT_EQ(ranks_around_median(12), Ranks(2, 9));
  EXPECT_EQ(ranks_around_median(15), Ranks(3, 11));
  EXPECT_EQ(ranks_around_median(20), Ranks(5, 14));
  EXPECT_EQ(ranks_around_median(25), Ranks(7, 17));
  EXPECT_EQ(ranks_around_median(100), Ranks(39, 60));
}

// n/2 ± 1.96 sqrt(n)/2, where 2^-n is no double any more.
TEST(RanksAroundMedian, FollowTheNormalDistributionForManyValues) {
  const auto [low, high] = ranks_around_median(10'000);
  EXPECT_NEAR(static_cast<double>(low), 5'000 - 98, 2);
  EXPECT_EQ(low + high, 9'999u);
}

TEST(Statistics, OfOneValueAreThatValue) {
  const Statistics one = statistics_of({7});
  EXPECT_EQ(one.median, 7);
  EXPECT_EQ(one.least, 7);
  EXPECT_EQ(one.upper_quartile, 7);
  EXPECT_EQ(one.high, 7);
  EXPECT_EQ(one.noise_percent, 0);
  EXPECT_EQ(one.samples, 1u);
}

// numpy.quantile(range(1, 21), [0.25, 0.5, 0.75]) is [5.75, 10.5, 15.25]; the interval is from the 6th to the 15th.
TEST(Statistics, OfManyValuesHaveQuartilesAndAnIntervalAroundTheMedian) {
  const Statistics many = statistics_of(one_to(20));
  EXPECT_EQ(many.least, 1);
  EXPECT_DOUBLE_EQ(many.lower_quartile, 5.75);
  EXPECT_DOUBLE_EQ(many.median, 10.5);
  EXPECT_DOUBLE_EQ(many.upper_quartile, 15.25);
  EXPECT_EQ(many.most, 20);
  EXPECT_EQ(many.low, 6);
  EXPECT_EQ(many.high, 15);
  EXPECT_DOUBLE_EQ(many.noise_percent, 100 * 4.5 / 10.5);
}

TEST(Statistics, NoiseAroundZeroIsNoDivisionByZero) {
  EXPECT_EQ(statistics_of({0, 0, 0}).noise_percent, 0);
  EXPECT_EQ(statistics_of({-1, 0, 1}).noise_percent, 100);
}

}  // namespace
}  // namespace hogpen
