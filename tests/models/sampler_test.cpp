#include "models/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

std::vector<std::uint32_t> all_of(const Permutation& permutation, std::uint32_t size) {
  std::vector<std::uint32_t> numbers(size);
  permutation.numbers(0, numbers);
  return numbers;
}

std::vector<std::uint32_t> epoch_of(EpochSampler& sampler, std::uint64_t epoch) {
  std::vector<std::uint32_t> samples;
  const auto batches = static_cast<std::uint64_t>(sampler.batches_per_epoch());
  for (std::uint64_t batch = epoch * batches; batch < (epoch + 1) * batches; ++batch) {
    const auto of_batch = sampler.batch(batch);
    samples.insert(samples.end(), of_batch.begin(), of_batch.end());
  }
  return samples;
}

bool is_permutation_of_all(std::vector<std::uint32_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] != i) return false;
  }
  return true;
}

TEST(Permutation, HoldsEachNumberOnceAtEverySize) {
  for (std::uint32_t size = 1; size <= 300; ++size) {
    EXPECT_TRUE(is_permutation_of_all(all_of(Permutation(size, 7, 3), size))) << size;
  }
  for (const std::uint32_t size : {4095U, 4096U, 4097U, 60'000U, 100'003U}) {
    EXPECT_TRUE(is_permutation_of_all(all_of(Permutation(size, 7, 3), size))) << size;
  }
}

TEST(Permutation, GivesAnyPartOfItself) {
  const Permutation permutation(1000, 1, 2);
  const std::vector<std::uint32_t> all = all_of(permutation, 1000);
  std::vector<std::uint32_t> part(17);
  permutation.numbers(983, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 983));
}

TEST(Permutation, StaysBelowTheLargestSize) {
  constexpr std::uint32_t kLargest = 0xFFFF'FFFF;
  std::vector<std::uint32_t> last(1000);
  Permutation(kLargest, 1, 0).numbers(kLargest - 1000, last);
  EXPECT_TRUE(std::all_of(last.begin(), last.end(), [](std::uint32_t number) { return number < kLargest; }));
  std::sort(last.begin(), last.end());
  EXPECT_EQ(std::adjacent_find(last.begin(), last.end()), last.end());
}

// Chi-square with 9 degrees of freedom is above 33.7 once in 10000 times.
TEST(Permutation, PutsEveryNumberEverywhereEquallyOften) {
  constexpr std::uint32_t kSize = 10;
  constexpr int kEpochs = 20'000;
  int counts[kSize][kSize] = {};
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const auto numbers = all_of(Permutation(kSize, 1, static_cast<std::uint64_t>(epoch)), kSize);
    for (std::uint32_t place = 0; place < kSize; ++place) ++counts[place][numbers[place]];
  }
  for (const auto& of_place : counts) {
    double chi_square = 0.0;
    for (const int count : of_place) chi_square += (count - 2000.0) * (count - 2000.0) / 2000.0;
    EXPECT_LT(chi_square, 40.0);
  }
}

// Of a random permutation, a number is followed by its successor 1 time on average, and half of the steps go up.
TEST(Permutation, KeepsNoOrderOfNeighbours) {
  constexpr std::uint32_t kSize = 60'000;
  for (std::uint64_t epoch = 0; epoch < 10; ++epoch) {
    const auto numbers = all_of(Permutation(kSize, 5, epoch), kSize);
    int successors = 0;
    int rises = 0;
    for (std::uint32_t i = 1; i < kSize; ++i) {
      successors += numbers[i] == numbers[i - 1] + 1;
      rises += numbers[i] > numbers[i - 1];
    }
    EXPECT_LT(successors, 12);
    EXPECT_NEAR(rises, kSize / 2, 6 * 71);  // the deviation is sqrt(kSize / 12) = 71
  }
}

// Two random orders have a rank correlation of deviation 1 / sqrt(size).
TEST(Permutation, DependsOnSeedAndNumber) {
  constexpr std::uint32_t kSize = 10'000;
  const auto correlation = [](const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b) {
    constexpr double kMean = (kSize - 1) / 2.0;
    double sum = 0.0;
    for (std::uint32_t i = 0; i < kSize; ++i) sum += (a[i] - kMean) * (b[i] - kMean);
    return sum / (kSize * (double{kSize} * kSize - 1.0) / 12.0);
  };
  const auto one = all_of(Permutation(kSize, 1, 0), kSize);
  EXPECT_EQ(one, all_of(Permutation(kSize, 1, 0), kSize));
  EXPECT_LT(std::abs(correlation(one, all_of(Permutation(kSize, 1, 1), kSize))), 0.06);
  EXPECT_LT(std::abs(correlation(one, all_of(Permutation(kSize, 2, 0), kSize))), 0.06);
  EXPECT_LT(std::abs(correlation(one, all_of(Permutation(kSize, std::uint64_t{1} << 40, 0), kSize))), 0.06);
  std::vector<std::uint32_t> identity(kSize);
  std::iota(identity.begin(), identity.end(), 0U);
  EXPECT_LT(std::abs(correlation(one, identity)), 0.06);
}

TEST(EpochSampler, CutsEachEpochIntoBatchesOfWhichTheLastIsSmaller) {
  EpochSampler sampler(10, 4, 1);
  EXPECT_EQ(sampler.batches_per_epoch(), 3);
  EXPECT_EQ(sampler.batch(0).size(), 4U);
  EXPECT_EQ(sampler.batch(2).size(), 2U);
  EXPECT_TRUE(is_permutation_of_all(epoch_of(sampler, 0)));
  EXPECT_TRUE(is_permutation_of_all(epoch_of(sampler, 1)));
  EXPECT_NE(epoch_of(sampler, 0), epoch_of(sampler, 1));
}

TEST(EpochSampler, SaysHowManySamplesABatchHasWithoutMakingIt) {
  for (const std::int64_t samples : {1, 9, 10, 12}) {
    for (const std::int64_t batch_size : {std::int64_t{1}, std::int64_t{4}, std::int64_t{12}, std::int64_t{1} << 62}) {
      EpochSampler sampler(samples, batch_size, 1);
      const EpochSampler& asked = sampler;
      std::int64_t sum = 0;
      for (std::int64_t batch = 0; batch < 3 * sampler.batches_per_epoch(); ++batch) {
        const auto number = static_cast<std::uint64_t>(batch);
        const std::int64_t size = asked.size_of_batch(number);
        EXPECT_EQ(size, static_cast<std::int64_t>(sampler.batch(number).size())) << number;
        EXPECT_GE(size, 1);
        EXPECT_LE(size, batch_size);
        sum += size;
      }
      EXPECT_EQ(sum, 3 * samples) << "in batches of " << batch_size;
    }
  }
  const EpochSampler last(10, 4, 1);
  EXPECT_EQ(last.size_of_batch(2), 2);
  EXPECT_EQ(last.size_of_batch(3), 4) << "the next epoch's first";
  EXPECT_EQ(last.size_of_batch(3'000'000'000'000'000'002), 2);
}

TEST(EpochSampler, GivesABatchTheSameSamplesWhateverWasAskedBefore) {
  EpochSampler one(1000, 64, 9);
  EpochSampler other(1000, 64, 9);
  const auto late = one.batch(40);
  const std::vector<std::uint32_t> expected(late.begin(), late.end());
  (void)other.batch(3);
  (void)other.batch(100);
  const auto again = other.batch(40);
  EXPECT_TRUE(std::equal(again.begin(), again.end(), expected.begin(), expected.end()));
}

TEST(EpochSampler, TakesABatchLargerThanTheData) {
  EpochSampler sampler(3, std::int64_t{1} << 62, 1);
  EXPECT_EQ(sampler.batches_per_epoch(), 1);
  EXPECT_TRUE(is_permutation_of_all(epoch_of(sampler, 5)));
}

TEST(EpochSampler, RefusesSizesOutsideItsRange) {
  EXPECT_THROW(EpochSampler(0, 1, 1), UsageError);
  EXPECT_THROW(EpochSampler(std::int64_t{1} << 32, 1, 1), UsageError);
  EXPECT_THROW(EpochSampler(1, 0, 1), UsageError);
}

}  // namespace
}  // namespace hogpen
