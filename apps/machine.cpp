#include "apps/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/build.h"
#include "apps/driver.h"
#include "apps/git_commit.h"
#include "kernels/instruction_set.h"
#include "runtime/core/cpu.h"
#include "runtime/core/error.h"
#include "runtime/memory/limits.h"
#include "runtime/memory/segment.h"
#include "runtime/process/numa.h"

namespace hogpen {
namespace {

using nlohmann::ordered_json;

const std::filesystem::path kFirstCpu = "/sys/devices/system/cpu/cpu0";

std::string or_unknown(std::string text) {
  return text.empty() ? "unknown" : text;
}

/// Empty when the file cannot be read.
std::string first_line(const std::filesystem::path& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

int cpus_in_affinity_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  return ::sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 0;
}

/// Null for a limit that is none.
ordered_json soft_limit(int resource) {
  rlimit limit{};
  syscall_ok(::getrlimit(resource, &limit), "getrlimit");
  return limit.rlim_cur == RLIM_INFINITY ? ordered_json() : ordered_json(limit.rlim_cur);
}

/// Those that hold data, of the first CPU: {"L1d": 49152, …}.
ordered_json cache_bytes() {
  ordered_json caches = ordered_json::object();
  for (int index = 0;; ++index) {
    const auto cache = kFirstCpu / "cache" / fmt::format("index{}", index);
    const std::string type = first_line(cache / "type");
    if (type.empty()) return caches;
    if (type == "Instruction") continue;
    const auto name = fmt::format("L{}{}", first_line(cache / "level"), type == "Data" ? "d" : "");
    caches[name] = 1024 * std::strtoull(first_line(cache / "size").c_str(), nullptr, 10);  // "48K"
  }
}

/// Null where the text is no number.
ordered_json megahertz(const std::string& text, double unit) {
  const double value = unit * std::strtod(text.c_str(), nullptr);
  return value > 0 ? ordered_json(value) : ordered_json();
}

/// Tried out: what the settings in /sys say, and what is given, are two things.
bool gives_huge_pages() try {
  return Segment::create("huge-page", std::size_t{2} << 20).mapping()->use_huge_pages() > 0;
} catch (const Error&) {
  return false;  // There is no memory for one.
}

std::string kernel() {
  ::utsname name{};
  return ::uname(&name) == 0 ? fmt::format("{} {} {}", name.sysname, name.release, name.machine) : "unknown";
}

}  // namespace

ordered_json describe_build() {
  return {{"hogpen", kBuild.version},      {"commit", kGitCommit},        {"build_type", kBuild.type},
          {"sanitizer", kBuild.sanitizer}, {"compiler", kBuild.compiler}, {"libtorch", TORCH_VERSION}};
}

ordered_json describe_machine() {
  const MemoryLimit memory = memory_limit();
  return {{"cpu", or_unknown(cpuinfo("model name"))},
          {"simd", kernels::name_of(kernels::instruction_set())},
          {"cache_bytes", cache_bytes()},
          {"mhz", megahertz(cpuinfo("cpu MHz"), 1)},
          {"max_mhz", megahertz(first_line(kFirstCpu / "cpufreq/cpuinfo_max_freq"), 1e-3)},
          {"governor", or_unknown(first_line(kFirstCpu / "cpufreq/scaling_governor"))},
          {"virtual", fmt::format(" {} ", cpuinfo("flags")).find(" hypervisor ") != std::string::npos},
          {"kernel", kernel()},
          {"cpus_in_affinity_mask", cpus_in_affinity_mask()},
          {"usable_cpus", usable_cpus()},
          {"numa_nodes", numa_nodes().size()},
          {"huge_pages", gives_huge_pages()},
          {"memory_available_bytes", memory.available_bytes},
          {"memory_limit", memory.source},
          {"max_open_files", soft_limit(RLIMIT_NOFILE)},
          {"max_file_bytes", soft_limit(RLIMIT_FSIZE)},
          {"max_locked_bytes", soft_limit(RLIMIT_MEMLOCK)}};
}

ordered_json describe_gpus() {
  const DriverReport report = ask_driver();
  ordered_json gpus = ordered_json::array();
  for (const Gpu& gpu : report.gpus) gpus.push_back({{"name", gpu.name}, {"memory_bytes", gpu.memory_bytes}});
  return {{"trouble", report.trouble},
          {"driver_version", first_line("/sys/module/nvidia/version")},
          {"driver_cuda_version", report.cuda_version},
          {"gpus", std::move(gpus)}};
}

}  // namespace hogpen
