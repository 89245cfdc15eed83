#include "runtime/process/numa.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "runtime/process/affinity.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// A directory like /sys/devices/system/node.
class Numa : public ::testing::Test {
 protected:
  Numa() {
    std::string pattern = (fs::temp_directory_path() / "hogpen-numa-XXXXXX").string();
    sysfs_ = ::mkdtemp(pattern.data());
  }
  ~Numa() override { fs::remove_all(sysfs_); }

  void add(const std::string& name, const std::string& cpulist) const {
    fs::create_directory(sysfs_ / name);
    std::ofstream(sysfs_ / name / "cpulist") << cpulist << "\n";
  }

  fs::path sysfs_;
};

TEST_F(Numa, ANodeHasThoseOfItsCpusThatThisThreadMayUse) {
  const std::vector<int> allowed = allowed_cpus();
  add("node0", "0-8191");
  const auto nodes = numa_nodes(sysfs_);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].id, 0);
  EXPECT_EQ(nodes[0].cpus, allowed);
}

TEST_F(Numa, SingleCpusAndRangesAreRead) {
  const std::vector<int> allowed = allowed_cpus();
  add("node3", "9000,8200-8300," + std::to_string(allowed.back()));
  const auto nodes = numa_nodes(sysfs_);
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].id, 3);
  EXPECT_EQ(nodes[0].cpus, std::vector<int>{allowed.back()});
}

TEST_F(Numa, NodesComeInOrderAndThoseWithoutAUsableCpuAreLeftOut) {
  const std::vector<int> allowed = allowed_cpus();
  if (allowed.size() < 2) GTEST_SKIP() << "needs two CPUs";
  add("node10", std::to_string(allowed[1]));
  add("node2", std::to_string(allowed[0]));
  add("node0", "");
  add("node1", "9000-9003");
  add("power", "0-8191");
  const auto nodes = numa_nodes(sysfs_);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].id, 2);
  EXPECT_EQ(nodes[1].id, 10);
}

TEST_F(Numa, WithoutSysfsThereIsOneNodeWithAllCpus) {
  const auto nodes = numa_nodes(sysfs_ / "none");
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0].cpus, allowed_cpus());
}

TEST(NodeOf, NeighboursShareANodeAndANodeGetsWorkersAsItHasCpus) {
  const std::vector<NumaNode> nodes = {{0, {0, 1, 2, 3}}, {1, {4, 5}}};
  std::vector<std::size_t> of;
  for (int rank = 0; rank < 3; ++rank) of.push_back(node_of(nodes, rank, 3));
  EXPECT_EQ(of, (std::vector<std::size_t>{0, 0, 1}));
  of.clear();
  for (int rank = 0; rank < 9; ++rank) of.push_back(node_of(nodes, rank, 9));
  EXPECT_EQ(of, (std::vector<std::size_t>{0, 0, 0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(node_of(nodes, 0, 1), 0u);
}

TEST(SettleOnNode, AThreadThatMayRunAnywhereIsKeptOnItsNodeAndOneThatIsConfinedStaysThere) {
  const std::vector<int> allowed = allowed_cpus();
  if (allowed.size() < 2) GTEST_SKIP() << "needs two CPUs";
  const std::vector<NumaNode> nodes = {{0, {allowed[0]}}, {1, {allowed.begin() + 1, allowed.end()}}};
  std::thread([&] {
    EXPECT_EQ(settle_on_node(nodes, 1, 2), 1u);
    EXPECT_EQ(allowed_cpus(), nodes[1].cpus);
    EXPECT_EQ(settle_on_node(nodes, 0, 2), 1u) << "it is confined to node 1 by now";
    EXPECT_EQ(allowed_cpus(), nodes[1].cpus);
  }).join();
  EXPECT_EQ(allowed_cpus(), allowed);
}

}  // namespace
}  // namespace hogpen
