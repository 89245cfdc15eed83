#include "models/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

using Kind = LrSchedule::Kind;

TEST(LrSchedule, AConstantRateNeverChanges) {
  const LrSchedule schedule{.base_lr = 0.25};
  for (const std::int64_t step : {0LL, 1LL, 1'000'000'000'000LL}) EXPECT_EQ(schedule.at(step), 0.25);
}

TEST(LrSchedule, WarmupRisesLinearlyAndEndsAtTheBaseRate) {
  const LrSchedule schedule{.base_lr = 0.4, .warmup_steps = 4};
  const std::vector<double> expected = {0.1, 0.2, 0.3, 0.4, 0.4, 0.4};
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(schedule.at(static_cast<std::int64_t>(step)), expected[step], 1e-15) << "step " << step;
  }
}

TEST(LrSchedule, AWarmupOfOneStepIsTheSameAsNone) {
  const LrSchedule none{.kind = Kind::constant, .base_lr = 0.3};
  const LrSchedule one{.kind = Kind::constant, .base_lr = 0.3, .warmup_steps = 1};
  for (std::int64_t step = 0; step < 4; ++step) EXPECT_EQ(one.at(step), none.at(step));
}

// The values are what torch.optim.lr_scheduler.StepLR(step_size=3, gamma=0.5) gives for lr=0.8.
TEST(LrSchedule, StepsMultiplyByGammaAtEveryMultipleOfTheStepSize) {
  const LrSchedule schedule{.kind = Kind::step, .base_lr = 0.8, .step_size = 3, .gamma = 0.5};
  const std::vector<double> expected = {0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1};
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(schedule.at(static_cast<std::int64_t>(step)), expected[step], 1e-15) << "step " << step;
  }
}

TEST(LrSchedule, StepsAreCountedFromTheEndOfTheWarmup) {
  const LrSchedule schedule{.kind = Kind::step, .base_lr = 1.0, .warmup_steps = 2, .step_size = 2, .gamma = 0.1};
  const std::vector<double> expected = {0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01};
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(schedule.at(static_cast<std::int64_t>(step)), expected[step], 1e-15) << "step " << step;
  }
}

// CosineAnnealingLR's recursive definition, which torch's documentation gives beside the closed form.
TEST(LrSchedule, TheCosineFollowsTorchsRecursion) {
  constexpr double kPi = 3.14159265358979323846;
  constexpr std::int64_t kTotal = 50;
  const LrSchedule schedule{.kind = Kind::cosine, .base_lr = 0.1, .total_steps = kTotal, .min_lr = 0.01};
  double expected = 0.1;
  for (std::int64_t step = 0; step < kTotal; ++step) {
    EXPECT_NEAR(schedule.at(step), expected, 1e-14) << "step " << step;
    const auto now = static_cast<double>(step);
    expected = 0.01 + (1 + std::cos(kPi * (now + 1) / kTotal)) / (1 + std::cos(kPi * now / kTotal)) * (expected - 0.01);
  }
}

TEST(LrSchedule, TheCosineBeginsAfterTheWarmupAndRestsAtItsMinimum) {
  const LrSchedule schedule{.kind = Kind::cosine, .base_lr = 1.0, .warmup_steps = 10, .total_steps = 30, .min_lr = 0.2};
  EXPECT_EQ(schedule.at(9), 1.0);
  EXPECT_EQ(schedule.at(10), 1.0);
  EXPECT_NEAR(schedule.at(20), 0.6, 1e-15);
  EXPECT_GT(schedule.at(29), 0.2);
  EXPECT_EQ(schedule.at(30), 0.2);
  EXPECT_EQ(schedule.at(31), 0.2);
  EXPECT_EQ(schedule.at(1000), 0.2);
}

TEST(LrSchedule, NegativeStepsAreRefused) {
  EXPECT_THROW((void)LrSchedule{}.at(-1), UsageError);
}

void expect_refused(const LrSchedule& schedule, const std::string& field) {
  try {
    schedule.check();
    FAIL() << field << " was accepted";
  } catch (const UsageError& error) {
    EXPECT_EQ(std::string(error.what()).find(field), 0U) << error.what();
  }
}

TEST(LrSchedule, ACheckNamesTheFieldThatMakesNoSense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  expect_refused({.base_lr = -0.1}, "base_lr");
  expect_refused({.base_lr = nan}, "base_lr");
  expect_refused({.base_lr = infinity}, "base_lr");
  expect_refused({.warmup_steps = -1}, "warmup_steps");
  expect_refused({.kind = Kind::step, .step_size = 0}, "step_size");
  expect_refused({.kind = Kind::step, .step_size = 1, .gamma = -0.5}, "gamma");
  expect_refused({.kind = Kind::cosine, .warmup_steps = 5, .total_steps = 5}, "total_steps");
  expect_refused({.kind = Kind::cosine, .total_steps = 5, .min_lr = -1.0}, "min_lr");
  expect_refused({.kind = Kind::cosine, .base_lr = 0.1, .total_steps = 5, .min_lr = 0.2}, "min_lr");
}

TEST(LrSchedule, ACheckIgnoresTheFieldsOfOtherKinds) {
  EXPECT_NO_THROW((LrSchedule{.kind = Kind::constant, .step_size = -1, .gamma = -1.0}.check()));
  EXPECT_NO_THROW((LrSchedule{.kind = Kind::step, .step_size = 1}.check()));
  EXPECT_NO_THROW((LrSchedule{.kind = Kind::cosine, .base_lr = 0.1, .total_steps = 1, .min_lr = 0.1}.check()));
}

TEST(LrSchedule, NamesGoBothWays) {
  for (const auto kind : {Kind::constant, Kind::step, Kind::cosine}) EXPECT_EQ(lr_schedule_kind(to_string(kind)), kind);
  EXPECT_THROW((void)lr_schedule_kind("linear"), UsageError);
  EXPECT_THROW((void)lr_schedule_kind(""), UsageError);
}

}  // namespace
}  // namespace hogpen
