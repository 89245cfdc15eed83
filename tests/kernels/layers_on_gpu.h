#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tests/kernels/device_array.h"
#include "tests/kernels/random_numbers.h"

namespace hogpen::kernels {

using Numbers = std::vector<float>;

class LayersOnGpu : public testing::Test, protected RandomNumbers {
 protected:
  LayersOnGpu() : RandomNumbers(11) {}
  void SetUp() override {
    if (!can_use_device_arrays()) GTEST_SKIP() << "no GPU";
  }
};

inline void expect_near(std::span<const float> found, const Numbers& expected, double tolerance,
                        const std::string& what) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], tolerance) << what << ", element " << i;
  }
}

}  // namespace hogpen::kernels
