#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <vector>

namespace hogpen {

/// A NUMA node, and those of its CPUs that the calling thread may use.
struct NumaNode {
  int id = 0;
  std::vector<int> cpus;
};

/// The nodes that have CPUs for the calling thread, in ascending order; one with all of them where `sysfs` tells of
/// none.
[[nodiscard]] std::vector<NumaNode> numa_nodes(const std::filesystem::path& sysfs = "/sys/devices/system/node");

/// The node, as an index, on which worker `rank` of `workers` is to run: neighbours share a node, and a node gets
/// workers as it has CPUs. Requires: 0 <= rank < workers; nodes that have CPUs.
[[nodiscard]] std::size_t node_of(std::span<const NumaNode> nodes, int rank, int workers);

/// Keeps the calling thread on one node, and returns its index: the one to which its CPUs are confined already, or else
/// that of `node_of`.
std::size_t settle_on_node(std::span<const NumaNode> nodes, int rank, int workers);

/// While it lives, memory that the calling thread takes from the kernel lies on one node if that has some. Does nothing
/// where the kernel forbids it, as in some containers: this is for speed alone.
///
/// Sharing: one thread. Owns: the thread's memory policy, put back as it was.
class PreferNode {
 public:
  explicit PreferNode(int node) noexcept;
  PreferNode(const PreferNode&) = delete;
  PreferNode& operator=(const PreferNode&) = delete;
  ~PreferNode();

 private:
  static constexpr unsigned long kMostNodes = 1024;
  using Mask = std::array<unsigned long, kMostNodes / (8 * sizeof(unsigned long))>;

  bool is_set_ = false;
  int old_mode_ = 0;
  Mask old_nodes_{};
};

}  // namespace hogpen
