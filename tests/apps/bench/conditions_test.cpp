#include "apps/bench/conditions.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// A root of a file system with the files that a test writes into it.
class ConditionsTest : public testing::Test {
 protected:
  ConditionsTest() {
    std::string name = (fs::temp_directory_path() / "hogpen-conditions-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~ConditionsTest() override { fs::remove_all(root_); }

  void write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  fs::path root_;
};

TEST_F(ConditionsTest, AreReadFromProcAndSys) {
  write("proc/stat", "cpu  100 20 30 1000 50 4 6 7 90 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
  write("proc/loadavg", "0.50 0.25 0.10 1/82 3608\n");
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n");
  write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "4\n");
  const Conditions conditions = Conditions::now(root_);
  EXPECT_EQ(conditions.busy, 160);
  EXPECT_EQ(conditions.stolen, 7);
  EXPECT_EQ(conditions.all, 1217);
  EXPECT_EQ(conditions.load_average, "0.50 0.25 0.10");
  EXPECT_EQ(conditions.governor, "powersave");
  EXPECT_EQ(conditions.throttled, 7);
}

TEST_F(ConditionsTest, AreNothingToWarnOfWhereNothingCanBeRead) {
  const Conditions nothing = Conditions::now(root_);
  EXPECT_EQ(nothing.all, 0);
  EXPECT_TRUE(warnings_at_begin(nothing, nothing).empty());
  EXPECT_TRUE(warnings_at_end(nothing, nothing).empty());
}

TEST(Warnings, OfOtherProcesses) {
  EXPECT_TRUE(warnings_at_begin({}, {.busy = 4, .all = 40}).empty());
  const auto warnings = warnings_at_begin({}, {.load_average = "1 2 3", .busy = 10, .all = 40});
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0], "other processes use 25 % of the CPUs (load average 1 2 3)");
}

TEST(Warnings, OfAClockThatFollowsTheLoad) {
  EXPECT_EQ(warnings_at_begin({}, {.governor = "powersave"}).size(), 1u);
  EXPECT_TRUE(warnings_at_begin({}, {.governor = "performance"}).empty());
}

TEST(Warnings, OfStolenTimeAndOfHeat) {
  const Conditions begin{.busy = 1000, .stolen = 10, .all = 5000, .throttled = 2};
  EXPECT_TRUE(warnings_at_end(begin, {.busy = 1990, .stolen = 20, .all = 9000, .throttled = 2}).empty());
  const auto warnings = warnings_at_end(begin, {.busy = 1900, .stolen = 110, .all = 9000, .throttled = 5});
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[0].find("took 10.0 %"), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[1].find("too hot 3 times"), std::string::npos) << warnings[1];
}

}  // namespace
}  // namespace hogpen
