#include "apps/bench/family_memory.h"

#include <fstream>
#include <string>
#include <vector>

namespace hogpen {
namespace {

std::optional<std::uint64_t> resident_bytes(const std::string& pid) {
  std::ifstream lines("/proc/" + pid + "/smaps_rollup");
  for (std::string word; lines >> word;) {
    std::uint64_t kibibytes = 0;
    if (word == "Pss:" && lines >> kibibytes) return kibibytes << 10;
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> family_memory_bytes() {
  std::ifstream children("/proc/thread-self/children");
  if (!children) return {};
  std::vector<std::string> pids = {"self"};
  for (std::string pid; children >> pid;) pids.push_back(pid);
  std::uint64_t sum = 0;
  for (const std::string& pid : pids) {
    const auto bytes = resident_bytes(pid);
    if (!bytes) return {};
    sum += *bytes;
  }
  return sum;
}

}  // namespace hogpen
