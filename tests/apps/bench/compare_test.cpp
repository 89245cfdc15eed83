#include "apps/bench/compare.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace hogpen {
namespace {

Figure figure(const char* name, const char* unit, double median, double half_width = 0) {
  Figure result{FigureLabel{.name = name, .unit = unit}};
  result.suite = std::string("sync");
  result.median = median;
  result.low = median - half_width;
  result.high = median + half_width;
  return result;
}

std::string line(const char* name) {
  return fmt::format("{:<11} {:<44} ", "sync", name);
}

TEST(ChangeOf, ATimeThatGrowsIsWorseAndARateThatGrowsIsBetter) {
  EXPECT_EQ(change_of(figure("a", "us", 10), figure("a", "us", 20), 5), Change::worse);
  EXPECT_EQ(change_of(figure("a", "us", 20), figure("a", "us", 10), 5), Change::better);
  EXPECT_EQ(change_of(figure("a", "GB/s", 10), figure("a", "GB/s", 20), 5), Change::better);
  EXPECT_EQ(change_of(figure("a", "1/s", 20), figure("a", "1/s", 10), 5), Change::worse);
}

TEST(ChangeOf, WhatLiesWithinTheNoiseIsNone) {
  EXPECT_EQ(change_of(figure("a", "us", 10, 6), figure("a", "us", 20, 5), 5), Change::none);
  EXPECT_EQ(change_of(figure("a", "us", 10, 4), figure("a", "us", 20, 5), 5), Change::worse);
}

TEST(ChangeOf, WhatLiesWithinTheThresholdIsNone) {
  EXPECT_EQ(change_of(figure("a", "us", 100), figure("a", "us", 104), 5), Change::none);
  EXPECT_EQ(change_of(figure("a", "us", 100), figure("a", "us", 106), 5), Change::worse);
  EXPECT_EQ(change_of(figure("a", "1/s", 106), figure("a", "1/s", 100), 5), Change::worse);
  EXPECT_EQ(change_of(figure("a", "us", 100), figure("a", "us", 100), 0), Change::none);
}

TEST(Compare, CountsTheWorseAndNamesWhatOnlyOneHas) {
  const Report before{.figures = {figure("slower", "us", 1), figure("same", "us", 1), figure("gone", "us", 1)}};
  const Report now{.figures = {figure("slower", "us", 2), figure("same", "us", 1), figure("new", "us", 1)}};
  const Comparison comparison = compare(before, now, 5);
  EXPECT_EQ(comparison.worse, 1);
  EXPECT_EQ(comparison.compared, 2);
  EXPECT_NE(comparison.text.find("us   x 2 worse\n"), std::string::npos) << comparison.text;
  EXPECT_NE(comparison.text.find("us   x 1\n"), std::string::npos) << comparison.text;
  EXPECT_NE(comparison.text.find(line("gone") + "only then\n"), std::string::npos) << comparison.text;
  EXPECT_NE(comparison.text.find(line("new") + "only now\n"), std::string::npos) << comparison.text;
  EXPECT_NE(comparison.text.find("1 of 2 figures is worse"), std::string::npos) << comparison.text;
}

TEST(Compare, WarnsOfAnotherMachineOrBuild) {
  const Report before{.context = {{"build_type", "Debug"}, {"machine", {{"cpu", "old"}, {"usable_cpus", 2}}}}};
  const Report now{.context = {{"build_type", "Debug"}, {"machine", {{"cpu", "new"}, {"usable_cpus", 2}}}}};
  const std::string text = compare(before, now, 5).text;
  EXPECT_NE(text.find("warning: machine/cpu was 'old' and is 'new'\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("build_type"), std::string::npos) << text;
  EXPECT_EQ(text.find("usable_cpus"), std::string::npos) << text;
}

}  // namespace
}  // namespace hogpen
