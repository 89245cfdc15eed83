#include "kernels/pixels.h"

#include <gtest/gtest.h>

#include <vector>

namespace hogpen::kernels {
namespace {

// Every value at every distance from the end of a vector, and nothing behind the end.
TEST(Normalize, ScalesAndShiftsEveryPixel) {
  for (std::size_t n = 0; n <= 300; ++n) {
    std::vector<std::uint8_t> pixels(n);
    for (std::size_t i = 0; i < n; ++i) pixels[i] = static_cast<std::uint8_t>(n + i);
    std::vector<float> out(n + 1, -7.0F);
    normalize(pixels.data(), out.data(), n, 0.0125F, -0.75F);
    for (std::size_t i = 0; i < n; ++i) {
      const float product = static_cast<float>(static_cast<double>(pixels[i]) * 0.0125F);
      ASSERT_EQ(out[i], static_cast<float>(static_cast<double>(product) - 0.75)) << i << " of " << n;
    }
    ASSERT_EQ(out[n], -7.0F);
  }
}

TEST(Normalize, TakesUnalignedMemory) {
  const std::vector<std::uint8_t> pixels(200, 255);
  std::vector<float> out(200);
  normalize(pixels.data() + 3, out.data() + 1, 190, 2.0F, 0.5F);
  EXPECT_EQ(out, [] {
    std::vector<float> expected(200, 510.5F);
    expected.front() = 0.0F;
    for (std::size_t i = 191; i < 200; ++i) expected[i] = 0.0F;
    return expected;
  }());
}

}  // namespace
}  // namespace hogpen::kernels
