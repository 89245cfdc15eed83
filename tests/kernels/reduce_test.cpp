#include "kernels/reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

namespace hogpen::kernels {
namespace {

// Nothing, less than a vector of the processor, one and its neighbours, and the same for the kernel's own block.
constexpr std::size_t kSizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 5001};
constexpr std::size_t kMost = 5001;
constexpr std::size_t kMostArrays = 5;

template <class T>
class SumIntoAll : public testing::Test {
 protected:
  using Wider = std::conditional_t<std::is_same_v<T, float>, double, long double>;
  static_assert(std::numeric_limits<Wider>::digits > std::numeric_limits<T>::digits);

  static std::vector<std::vector<T>> random_arrays(std::size_t count) {
    std::mt19937 random(static_cast<unsigned>(count));
    std::normal_distribution<T> normal;
    std::vector<std::vector<T>> arrays(count, std::vector<T>(kMost));
    for (std::vector<T>& array : arrays) std::generate(array.begin(), array.end(), [&] { return normal(random); });
    return arrays;
  }

  static void sum(std::vector<std::vector<T>>& arrays, std::size_t numel, T divisor) {
    std::vector<T*> pointers;
    for (std::vector<T>& array : arrays) pointers.push_back(array.data());
    sum_into_all(std::span<T* const>(pointers), numel, divisor);
  }
};

using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(SumIntoAll, Types);

TYPED_TEST(SumIntoAll, GivesEachArrayTheSumAndTouchesNothingBehindIt) {
  using T = TypeParam;
  using Exact = typename TestFixture::Wider;
  for (std::size_t count = 1; count <= kMostArrays; ++count) {
    const auto before = TestFixture::random_arrays(count);
    for (const std::size_t numel : kSizes) {
      for (const T divisor : {T{1}, static_cast<T>(count)}) {
        auto arrays = before;
        TestFixture::sum(arrays, numel, divisor);
        for (std::size_t i = 0; i < numel; ++i) {
          Exact exact = 0;
          Exact magnitude = 0;
          for (const auto& array : before) {
            exact += array[i];
            magnitude += std::abs(array[i]);
          }
          // Half a unit for each addition and for the division, of no more than the sum of the magnitudes.
          const Exact bound = magnitude / divisor * static_cast<T>(count + 1) * std::numeric_limits<T>::epsilon() / 2;
          ASSERT_LE(std::abs(arrays[0][i] - exact / divisor), bound) << count << " arrays, " << i << " of " << numel;
        }
        for (std::size_t array = 0; array < count; ++array) {
          ASSERT_TRUE(std::equal(arrays[0].begin(), arrays[0].begin() + static_cast<std::ptrdiff_t>(numel),
                                 arrays[array].begin()));
          ASSERT_TRUE(std::equal(arrays[array].begin() + static_cast<std::ptrdiff_t>(numel), arrays[array].end(),
                                 before[array].begin() + static_cast<std::ptrdiff_t>(numel)));
        }
      }
    }
  }
}

TYPED_TEST(SumIntoAll, AddsInTheOrderOfTheArrays) {
  using T = TypeParam;
  const T big = 4 / std::numeric_limits<T>::epsilon();  // beside which 1 is lost
  std::vector<std::vector<T>> arrays = {std::vector<T>(kMost, big), std::vector<T>(kMost, -big),
                                        std::vector<T>(kMost, T{1})};
  TestFixture::sum(arrays, kMost, T{1});
  EXPECT_EQ(arrays[0], std::vector<T>(kMost, T{1}));
}

TYPED_TEST(SumIntoAll, OfNoArraysDoesNothing) {
  std::vector<std::vector<TypeParam>> none;
  TestFixture::sum(none, kMost, TypeParam{1});
}

}  // namespace
}  // namespace hogpen::kernels
