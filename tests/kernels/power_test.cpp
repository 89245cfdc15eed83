#include "kernels/power.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/update_rules.h"

namespace hogpen::kernels::detail {
namespace {

constexpr double kBases[] = {0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999};

TEST(PortablePower, IsExactWhereTheResultIs) {
  EXPECT_EQ(PortablePower()(0.9, 0), 1.0);
  EXPECT_EQ(PortablePower()(0.9, 1), 0.9);
  EXPECT_EQ(PortablePower()(0.0, 5), 0.0);
  EXPECT_EQ(PortablePower()(1.0, std::numeric_limits<std::int64_t>::max()), 1.0);
  for (int exponent = 0; exponent <= 1022; ++exponent) {
    EXPECT_EQ(PortablePower()(0.5, exponent), std::ldexp(1.0, -exponent));
  }
}

// long double has 11 bits more than double. Below 1e-290 the lower halves of the sums vanish; 1 minus that is 1 anyway.
TEST(PortablePower, IsTheDoubleNearestToTheLongDouble) {
  for (const double base : kBases) {
    for (std::int64_t exponent = 1; exponent <= 20'000; ++exponent) {
      const long double exact = std::pow(static_cast<long double>(base), static_cast<long double>(exponent));
      if (exact < 1e-290L && base != 0.0) break;
      const double power = PortablePower()(base, exponent);
      const double ulp = std::nextafter(power, 2.0) - power;
      ASSERT_LE(std::abs(static_cast<double>(power - exact)), 0.501 * ulp) << base << " to the " << exponent;
    }
  }
}

TEST(PortablePower, VanishesForAnyStepThatATrainingMayReach) {
  EXPECT_EQ(PortablePower()(0.999, 1'000'000'000'000), 0.0);
  EXPECT_EQ(PortablePower()(0.999, std::numeric_limits<std::int64_t>::max()), 0.0);
}

template <Decay kDecay>
void expect_same_rule(const AdamScalars& scalars) {
  const AdamRule<kDecay, LibraryPower> library(scalars);
  const AdamRule<kDecay, PortablePower> portable(scalars);
  static_assert(sizeof library == sizeof portable);
  ASSERT_EQ(std::memcmp(&library, &portable, sizeof library), 0) << scalars.beta1 << ", step " << scalars.step;
}

// What device code computes with is what host code computes with.
TEST(PortablePower, GivesAdamTheFloatsThatTheLibrarysGives) {
  for (const double beta : kBases) {
    for (std::int64_t step = 1; step <= 100'000; ++step) {
      AdamScalars scalars{.lr = 1e-3, .beta1 = beta, .beta2 = beta, .weight_decay = 1e-2, .step = step};
      expect_same_rule<Decay::l2>(scalars);
      scalars.lr = 1.0 / static_cast<double>(step);
      expect_same_rule<Decay::decoupled>(scalars);
    }
  }
}

}  // namespace
}  // namespace hogpen::kernels::detail
