#include "runtime/core/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace hogpen {
namespace {

const std::vector<std::string> kLayers{"Linear", "Conv2d", "ReLU", "LogSoftmax"};

TEST(Closest, OfNothingIsNothing) {
  EXPECT_EQ(closest("Linear", {}), std::nullopt);
}

TEST(Closest, EverySlipOfAFingerIsForgiven) {
  for (const char* word : {"Linear", "linear", "Lineer", "Linaer", "Lnear", "Liinear", "Linears"}) {
    EXPECT_EQ(closest(word, kLayers), "Linear") << word;
  }
}

TEST(Closest, ASwapIsOneSlip) {
  const std::vector<std::string> bias{"bias"};
  EXPECT_EQ(closest("bais", bias), "bias");
  EXPECT_EQ(closest("ibas", bias), "bias");
  EXPECT_EQ(closest("sbia", bias), std::nullopt);
}

TEST(Closest, UpToAThirdOfTheLettersMayBeSlips) {
  EXPECT_EQ(closest("Conv", kLayers), "Conv2d");
  EXPECT_EQ(closest("Con", kLayers), std::nullopt);
  EXPECT_EQ(closest("Transformer", kLayers), std::nullopt);
  EXPECT_EQ(closest("", kLayers), std::nullopt);
}

TEST(Closest, TheNearestWinsAndOfEqualsTheFirst) {
  const std::vector<std::string> candidates{"step", "stop", "steps"};
  EXPECT_EQ(closest("stepz", candidates), "step");
  EXPECT_EQ(closest("steps", candidates), "steps");
}

}  // namespace
}  // namespace hogpen
