#include "runtime/memory/limits.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// A tree of files that stands in for "/".
class LimitsTest : public testing::Test {
 protected:
  LimitsTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::temp_directory_path() / fmt::format("hogpen-limits-test-{}-{}", ::getpid(), test->name());
    write("proc/meminfo", "MemTotal:       8000 kB\nMemFree:        1 kB\nMemAvailable:    4000 kB\n");
  }
  ~LimitsTest() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  void write_v2(const std::string& cgroup, const std::string& limit, std::uint64_t current,
                std::uint64_t inactive_file) {
    write(cgroup + "/memory.max", limit + "\n");
    write(cgroup + "/memory.current", fmt::format("{}\n", current));
    write(cgroup + "/memory.stat",
          fmt::format("anon 1\ninactive_file_fake 9999999\ninactive_file {}\n", inactive_file));
  }

  fs::path root_;
};

constexpr std::uint64_t kMemAvailable = 4000 * 1024;

TEST_F(LimitsTest, WithoutCgroupsMemAvailableIsTheLimit) {
  const MemoryLimit limit = memory_limit(root_);
  EXPECT_EQ(limit.available_bytes, kMemAvailable);
  EXPECT_EQ(limit.source, "MemAvailable of /proc/meminfo");
}

TEST_F(LimitsTest, ACgroupLeavesItsLimitLessItsUse) {
  write("proc/self/cgroup", "0::/app\n");
  write_v2("sys/fs/cgroup/app", "1000000", 300000, 0);
  const MemoryLimit limit = memory_limit(root_);
  EXPECT_EQ(limit.available_bytes, 700000);
  EXPECT_EQ(limit.source, (root_ / "sys/fs/cgroup/app/memory.max").string());
}

TEST_F(LimitsTest, ReclaimablePagesOfFilesCountAsAvailable) {
  write("proc/self/cgroup", "0::/app\n");
  write_v2("sys/fs/cgroup/app", "1000000", 300000, 100000);
  EXPECT_EQ(memory_limit(root_).available_bytes, 800000);
}

TEST_F(LimitsTest, NeitherUseNorReclaimableAboveTheirWholeWrapAround) {
  write("proc/self/cgroup", "0::/app\n");
  write_v2("sys/fs/cgroup/app", "1000000", 300000, 400000);
  EXPECT_EQ(memory_limit(root_).available_bytes, 1000000);
  write_v2("sys/fs/cgroup/app", "1000000", 1200000, 0);
  EXPECT_EQ(memory_limit(root_).available_bytes, 0);
}

TEST_F(LimitsTest, TheTightestOfAllEnclosingCgroupsCounts) {
  write("proc/self/cgroup", "0::/outer/middle/inner\n");
  write_v2("sys/fs/cgroup/outer", "500000", 100000, 0);
  write_v2("sys/fs/cgroup/outer/middle", "max", 50000, 0);
  write_v2("sys/fs/cgroup/outer/middle/inner", "900000", 50000, 0);
  const MemoryLimit limit = memory_limit(root_);
  EXPECT_EQ(limit.available_bytes, 400000);
  EXPECT_EQ(limit.source, (root_ / "sys/fs/cgroup/outer/memory.max").string());
}

TEST_F(LimitsTest, ACgroupWiderThanTheSystemDoesNotRaiseTheLimit) {
  write("proc/self/cgroup", "0::/app\n");
  write_v2("sys/fs/cgroup/app", "99000000", 0, 0);
  EXPECT_EQ(memory_limit(root_).available_bytes, kMemAvailable);
}

TEST_F(LimitsTest, InAContainerTheMountItselfIsTheCgroup) {
  write("proc/self/cgroup", "0::/kubepods/pod7\n");  // a path of the host
  write_v2("sys/fs/cgroup", "600000", 0, 0);
  EXPECT_EQ(memory_limit(root_).available_bytes, 600000);
}

TEST_F(LimitsTest, AV1ControllerIsReadToo) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/app\n0::/\n");
  write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "2000000\n");
  write("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "500000\n");
  write("sys/fs/cgroup/memory/app/memory.stat", "inactive_file 7\ntotal_inactive_file 100000\n");
  const MemoryLimit limit = memory_limit(root_);
  EXPECT_EQ(limit.available_bytes, 1600000);
  EXPECT_EQ(limit.source, (root_ / "sys/fs/cgroup/memory/app/memory.limit_in_bytes").string());
}

TEST_F(LimitsTest, AV1LimitOfAllPagesIsNone) {
  write("proc/self/cgroup", "4:memory:/app\n");
  write("proc/meminfo", "MemAvailable: 18014398509481983 kB\n");
  write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "500000\n");
  EXPECT_EQ(memory_limit(root_).source, "MemAvailable of /proc/meminfo");
}

TEST_F(LimitsTest, MalformedCgroupFilesSetNoLimit) {
  for (const char* garbage : {"", "\n", "nonsense", "-5", "99999999999999999999999999", "\x01\x02"}) {
    write("proc/self/cgroup", "0::/app\n4:memory:/app\nno colons\n:\n::\n");
    for (const char* name : {"memory.max", "memory.current", "memory.stat", "cpu.max"}) {
      write(fmt::format("sys/fs/cgroup/app/{}", name), garbage);
    }
    write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", garbage);
    EXPECT_EQ(memory_limit(root_).available_bytes, kMemAvailable) << garbage;
    EXPECT_GE(usable_cpus(root_), 1) << garbage;
  }
}

TEST_F(LimitsTest, AMeminfoWithoutMemAvailableIsAFormatError) {
  for (const char* text : {"", "MemTotal: 5 kB\n", "MemAvailable:\n", "MemAvailable: many kB\n"}) {
    write("proc/meminfo", text);
    EXPECT_THROW((void)memory_limit(root_), FormatError) << text;
  }
}

TEST_F(LimitsTest, AMissingMeminfoIsASystemErrorThatNamesIt) {
  fs::remove(root_ / "proc/meminfo");
  EXPECT_THROW((void)memory_limit(root_), SystemError);
}

TEST(Limits, OfThisMachineAreMoreThanNothing) {
  EXPECT_GT(memory_limit().available_bytes, 0);
  EXPECT_GE(usable_cpus(), 1);
}

int cpus_in_mask() {
  cpu_set_t mask;
  EXPECT_EQ(::sched_getaffinity(0, sizeof(mask), &mask), 0);
  return CPU_COUNT(&mask);
}

TEST_F(LimitsTest, WithoutAQuotaTheAffinityMaskCounts) {
  EXPECT_EQ(usable_cpus(root_), cpus_in_mask());
}

TEST_F(LimitsTest, ANarrowerAffinityMaskIsSeen) {
  int cpus = 0;
  std::thread([&] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(::sched_getcpu(), &mask);
    EXPECT_EQ(::sched_setaffinity(0, sizeof(mask), &mask), 0);
    cpus = usable_cpus(root_);
  }).join();
  EXPECT_EQ(cpus, 1);
}

TEST_F(LimitsTest, AQuotaIsRoundedUpToWholeCpus) {
  if (cpus_in_mask() < 2) GTEST_SKIP() << "needs two CPUs";
  write("proc/self/cgroup", "0::/app\n");
  write("sys/fs/cgroup/app/cpu.max", "100001 100000\n");
  EXPECT_EQ(usable_cpus(root_), 2);
  write("sys/fs/cgroup/app/cpu.max", "100000 100000\n");
  EXPECT_EQ(usable_cpus(root_), 1);
}

TEST_F(LimitsTest, ATinyQuotaStillIsOneCpu) {
  write("proc/self/cgroup", "0::/app\n");
  write("sys/fs/cgroup/app/cpu.max", "1000 100000\n");
  EXPECT_EQ(usable_cpus(root_), 1);
  write("sys/fs/cgroup/app/cpu.max", "0 100000\n");
  EXPECT_EQ(usable_cpus(root_), 1);
}

TEST_F(LimitsTest, NoQuotaOrOneWiderThanTheMaskChangesNothing) {
  write("proc/self/cgroup", "0::/app\n");
  for (const char* text : {"max 100000\n", "99900000 100000\n", "100000 0\n", "100000\n"}) {
    write("sys/fs/cgroup/app/cpu.max", text);
    EXPECT_EQ(usable_cpus(root_), cpus_in_mask()) << text;
  }
}

TEST_F(LimitsTest, AV1QuotaOfAnOuterCgroupCounts) {
  write("proc/self/cgroup", "3:cpu,cpuacct:/outer/inner\n");
  write("sys/fs/cgroup/cpu/outer/cpu.cfs_quota_us", "50000\n");
  write("sys/fs/cgroup/cpu/outer/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/cpu/outer/inner/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/outer/inner/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable_cpus(root_), 1);
}

}  // namespace
}  // namespace hogpen
