#include "runtime/memory/limits.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> read_text(const fs::path& file) {
  std::ifstream in(file);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// The number that a text begins with, after blanks; nothing for "max", "-1" and whatever else is none.
std::optional<std::uint64_t> leading_number(std::string_view text) {
  const auto start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

std::optional<std::uint64_t> number_in(const fs::path& file) {
  const auto text = read_text(file);
  return text ? leading_number(*text) : std::nullopt;
}

// The number in the line "key 123" or "key: 123" of a file such as memory.stat.
std::optional<std::uint64_t> number_after(const fs::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    std::string_view rest = std::string_view(line).substr(key.size());
    if (rest.starts_with(':')) rest.remove_prefix(1);
    if (rest.starts_with(' ') || rest.starts_with('\t')) return leading_number(rest);
  }
  return std::nullopt;
}

// The process's path within the hierarchy of a v1 controller, or of v2 for "", as "/proc/self/cgroup" has it in lines
// "ID:CONTROLLER,…:PATH".
std::optional<fs::path> cgroup_path(const fs::path& root, std::string_view controller) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool matches = controller.empty() ? controllers.empty()
                                            : fmt::format(",{},", controllers).find(fmt::format(",{},", controller)) !=
                                                  std::string::npos;
    if (matches) return fs::path(line.substr(second + 1)).lexically_normal().relative_path();
  }
  return std::nullopt;
}

// The process's cgroup and those around it, innermost first. In a container the path that /proc names is often not
// mounted: then only the mount itself is left, which is the container's cgroup.
std::vector<fs::path> enclosing_cgroups(const fs::path& root, const fs::path& mount, std::string_view controller) {
  std::vector<fs::path> found;
  std::error_code ignored;
  const auto path = cgroup_path(root, controller);
  if (!path || !fs::is_directory(root / mount, ignored)) return found;
  for (fs::path inner = *path; !inner.empty(); inner = inner.parent_path()) {
    if (fs::is_directory(root / mount / inner, ignored)) found.push_back(root / mount / inner);
  }
  found.push_back(root / mount);
  return found;
}

std::vector<fs::path> enclosing_cgroups_v2(const fs::path& root) {
  std::error_code ignored;
  const bool hybrid = fs::exists(root / "sys/fs/cgroup/unified", ignored);
  return enclosing_cgroups(root, hybrid ? "sys/fs/cgroup/unified" : "sys/fs/cgroup", "");
}

// Names of a cgroup's memory files, which differ between v1 and v2.
struct MemoryFiles {
  const char* limit;
  const char* usage;
  const char* reclaimable;  ///< the line of memory.stat that counts pages of files which the kernel drops on demand
};
constexpr MemoryFiles kMemoryV1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr MemoryFiles kMemoryV2 = {"memory.max", "memory.current", "inactive_file"};

// v1 writes "no limit" as the largest number of whole pages.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

void lower_to_cgroup(MemoryLimit& lowest, const fs::path& cgroup, const MemoryFiles& files) {
  const auto limit = number_in(cgroup / files.limit);
  const auto usage = number_in(cgroup / files.usage);
  if (!limit || *limit >= kNoLimit || !usage) return;
  const std::uint64_t reclaimable = number_after(cgroup / "memory.stat", files.reclaimable).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, reclaimable);
  const std::uint64_t available = *limit - std::min(*limit, used);
  if (available < lowest.available_bytes) lowest = {available, (cgroup / files.limit).string()};
}

std::uint64_t ceil_divide(std::uint64_t dividend, std::uint64_t divisor) {
  return dividend / divisor + (dividend % divisor != 0 ? 1 : 0);
}

// "QUOTA PERIOD" in microseconds, or "max PERIOD".
std::optional<std::uint64_t> cpu_quota_v2(const fs::path& cgroup) {
  const auto text = read_text(cgroup / "cpu.max");
  const auto blank = text ? text->find(' ') : std::string::npos;
  if (blank == std::string::npos) return std::nullopt;
  const auto quota = leading_number(*text);
  const auto period = leading_number(std::string_view(*text).substr(blank));
  if (!quota || !period || *period == 0) return std::nullopt;
  return ceil_divide(*quota, *period);
}

std::optional<std::uint64_t> cpu_quota_v1(const fs::path& cgroup) {
  const auto quota = number_in(cgroup / "cpu.cfs_quota_us");
  const auto period = number_in(cgroup / "cpu.cfs_period_us");
  if (!quota || !period || *period == 0) return std::nullopt;
  return ceil_divide(*quota, *period);
}

std::uint64_t cpus_in_affinity_mask() {
  // The kernel refuses a mask smaller than its own, whose size it does not tell.
  for (std::size_t cpus = CPU_SETSIZE;; cpus *= 2) {
    std::vector<cpu_set_t> mask(CPU_ALLOC_SIZE(cpus) / sizeof(cpu_set_t));
    const std::size_t size = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, size, mask.data()) == 0) {
      return static_cast<std::uint64_t>(CPU_COUNT_S(size, mask.data()));
    }
    if (errno != EINVAL) throw SystemError("sched_getaffinity", errno);
  }
}

}  // namespace

MemoryLimit memory_limit(const fs::path& root) {
  const fs::path meminfo = root / "proc/meminfo";
  const auto available_kib = number_after(meminfo, "MemAvailable");
  if (!available_kib) {
    (void)read_file(meminfo);  // Throws where it is not the file's content that is wrong.
    throw FormatError(meminfo.string(), "line MemAvailable", "there is none, or it holds no number",
                      "mount /proc, on Linux 3.14 or newer");
  }
  MemoryLimit lowest = {*available_kib * 1024, "MemAvailable of /proc/meminfo"};
  for (const fs::path& cgroup : enclosing_cgroups_v2(root)) lower_to_cgroup(lowest, cgroup, kMemoryV2);
  for (const fs::path& cgroup : enclosing_cgroups(root, "sys/fs/cgroup/memory", "memory")) {
    lower_to_cgroup(lowest, cgroup, kMemoryV1);
  }
  return lowest;
}

int usable_cpus(const fs::path& root) {
  std::uint64_t cpus = cpus_in_affinity_mask();
  for (const fs::path& cgroup : enclosing_cgroups_v2(root)) cpus = std::min(cpus, cpu_quota_v2(cgroup).value_or(cpus));
  for (const fs::path& cgroup : enclosing_cgroups(root, "sys/fs/cgroup/cpu", "cpu")) {
    cpus = std::min(cpus, cpu_quota_v1(cgroup).value_or(cpus));
  }
  return static_cast<int>(std::max<std::uint64_t>(cpus, 1));
}

}  // namespace hogpen
