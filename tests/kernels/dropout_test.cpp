#include "kernels/dropout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace hogpen::kernels {
namespace {

std::vector<float> mask(double p, std::size_t n, std::uint64_t seed = 1) {
  std::vector<float> values(n);
  draw_mask(DropoutRule(p), values.data(), n, seed);
  return values;
}

double share_of_zeros(const std::vector<float>& values) {
  return static_cast<double>(std::count(values.begin(), values.end(), 0.0F)) / static_cast<double>(values.size());
}

TEST(Dropout, DropsTheShareThatItShouldAndKeepsTheMean) {
  constexpr std::size_t kCount = 1'000'000;
  for (const double p : {0.1, 0.25, 0.5, 0.9}) {
    const auto values = mask(p, kCount);
    const double deviation = std::sqrt(p * (1 - p) / kCount);
    EXPECT_NEAR(share_of_zeros(values), p, 5 * deviation) << p;
    EXPECT_NEAR(std::accumulate(values.begin(), values.end(), 0.0) / kCount, 1.0, 5 * deviation / (1 - p)) << p;
    const auto kept = static_cast<float>(1 / (1 - p));
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [&](float v) { return v == 0.0F || v == kept; })) << p;
  }
}

TEST(Dropout, WithPZeroAllIsKeptAndWithPOneNothing) {
  EXPECT_EQ(mask(0.0, 1001), std::vector<float>(1001, 1.0F));
  EXPECT_EQ(mask(1.0, 1001), std::vector<float>(1001, 0.0F));
}

TEST(Dropout, NeighboursAreDroppedIndependently) {
  constexpr std::size_t kCount = 1'000'000;
  const auto values = mask(0.5, kCount);
  for (std::size_t distance = 1; distance < 9; ++distance) {
    std::size_t alike = 0;
    for (std::size_t i = distance; i < kCount; ++i) alike += values[i] == values[i - distance] ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(alike) / kCount, 0.5, 0.0025) << distance;
  }
}

TEST(Dropout, EachCallAndEachSeedDrawsAnotherMaskAndTheSameSeedTheSame) {
  std::uint64_t state = 5;
  std::vector<float> first(101);
  std::vector<float> second(101);
  draw_mask(DropoutRule(0.5), first.data(), first.size(), state);
  draw_mask(DropoutRule(0.5), second.data(), second.size(), state);
  EXPECT_NE(first, second);
  EXPECT_EQ(first, mask(0.5, 101, 5));
  EXPECT_NE(first, mask(0.5, 101, 6));
}

TEST(Dropout, AMaskMultipliesNumbersOrGroupsOfThem) {
  const std::vector<float> mask = {2.0F, 0.0F, 1.0F};
  std::vector<float> x = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
  std::vector<float> y(6);
  apply_mask(mask.data(), x.data(), y.data(), 3, 2);
  EXPECT_EQ(y, (std::vector<float>{2.0F, 4.0F, 0.0F, 0.0F, 5.0F, 6.0F}));
  apply_mask(mask.data(), x.data(), x.data(), 3, 1);
  EXPECT_EQ(x, (std::vector<float>{2.0F, 0.0F, 3.0F, 4.0F, 5.0F, 6.0F}));
}

}  // namespace
}  // namespace hogpen::kernels
