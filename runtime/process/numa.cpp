#include "runtime/process/numa.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

#include "runtime/process/affinity.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// The CPUs of `allowed` that a list of the kernel names, as "0-3,8".
std::vector<int> cpus_in(std::istream& list, const std::vector<int>& allowed) {
  std::vector<int> cpus;
  for (std::string range; std::getline(list, range, ',');) {
    std::istringstream numbers(range);
    int first = 0;
    if (!(numbers >> first)) continue;  // A node without CPUs has an empty list.
    int last = first;
    if (numbers.get() == '-') numbers >> last;
    for (const int cpu : allowed) {
      if (cpu >= first && cpu <= last) cpus.push_back(cpu);
    }
  }
  return cpus;
}

}  // namespace

std::vector<NumaNode> numa_nodes(const fs::path& sysfs) {
  const std::vector<int> allowed = allowed_cpus();
  std::vector<NumaNode> nodes;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(sysfs, ignored)) {
    const std::string name = entry.path().filename().string();
    int id = 0;
    if (!name.starts_with("node") || !(std::istringstream(name.substr(4)) >> id)) continue;
    std::ifstream list(entry.path() / "cpulist");
    NumaNode node{id, cpus_in(list, allowed)};
    if (!node.cpus.empty()) nodes.push_back(std::move(node));
  }
  if (nodes.empty()) return {{0, allowed}};
  std::ranges::sort(nodes, {}, &NumaNode::id);
  return nodes;
}

std::size_t node_of(std::span<const NumaNode> nodes, int rank, int workers) {
  std::size_t cpus = 0;
  for (const NumaNode& node : nodes) cpus += node.cpus.size();
  const std::size_t place = static_cast<std::size_t>(rank) * cpus / static_cast<std::size_t>(workers);
  std::size_t node = 0;
  for (std::size_t end = nodes[0].cpus.size(); place >= end; end += nodes[node].cpus.size()) ++node;
  return node;
}

std::size_t settle_on_node(std::span<const NumaNode> nodes, int rank, int workers) {
  const std::vector<int> allowed = allowed_cpus();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (std::ranges::includes(nodes[i].cpus, allowed)) return i;
  }
  const std::size_t mine = node_of(nodes, rank, workers);
  set_affinity(nodes[mine].cpus);
  return mine;
}

// The C library has no names for these two calls; libnuma does, and is not needed for anything else.
PreferNode::PreferNode(int node) noexcept {
  Mask nodes{};
  constexpr unsigned long kBits = 8 * sizeof(unsigned long);
  if (node < 0 || static_cast<unsigned long>(node) >= kMostNodes) return;
  nodes[static_cast<std::size_t>(node) / kBits] = 1UL << (static_cast<unsigned long>(node) % kBits);
  if (::syscall(SYS_get_mempolicy, &old_mode_, old_nodes_.data(), kMostNodes, nullptr, 0) != 0) return;
  is_set_ = ::syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes.data(), kMostNodes) == 0;
}

PreferNode::~PreferNode() {
  if (is_set_) (void)::syscall(SYS_set_mempolicy, old_mode_, old_nodes_.data(), kMostNodes);
}

}  // namespace hogpen
