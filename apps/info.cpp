#include <sched.h>
#include <sys/resource.h>
#include <torch/headeronly/version.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/cli.h"
#include "apps/driver.h"
#include "apps/output.h"
#include "models/dataset.h"
#include "runtime/core/error.h"
#include "runtime/memory/limits.h"

namespace hogpen {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFooter = R"(Exit codes:
  0 done, whatever was found   1 failed   2 wrong usage)";

/// The value of the first line "key : value" of /proc/cpuinfo.
std::string cpuinfo(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string simd_level() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return "AVX-512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "AVX2 with FMA";
  if (__builtin_cpu_supports("avx2")) return "AVX2";
  if (__builtin_cpu_supports("avx")) return "AVX";
  return "SSE2";
#else
  return "unknown";
#endif
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

ordered_json machine() {
  const MemoryLimit memory = memory_limit();
  return {{"cpu", cpuinfo("model name")},
          {"simd", simd_level()},
          {"cpus_in_affinity_mask", cpus_in_affinity_mask()},
          {"usable_cpus", usable_cpus()},
          {"memory_available_bytes", memory.available_bytes},
          {"memory_limit", memory.source},
          {"max_open_files", soft_limit(RLIMIT_NOFILE)},
          {"max_file_bytes", soft_limit(RLIMIT_FSIZE)},
          {"max_locked_bytes", soft_limit(RLIMIT_MEMLOCK)}};
}

ordered_json cuda() {
  const DriverReport report = ask_driver();
  ordered_json gpus = ordered_json::array();
  for (const Gpu& gpu : report.gpus) gpus.push_back({{"name", gpu.name}, {"memory_bytes", gpu.memory_bytes}});
  ordered_json json = {{"built", HOGPEN_HAS_CUDA == 1}, {"usable", HOGPEN_HAS_CUDA == 1 && !report.gpus.empty()}};
  json["trouble"] = report.trouble;
  json["driver_cuda_version"] = report.cuda_version;
  json["gpus"] = std::move(gpus);
  return json;
}

ordered_json fashion_mnist() {
  try {
    const DatasetPair data = open_dataset("fashion-mnist");
    return {{"found", true}, {"train_samples", data.train.size()}, {"test_samples", data.test.size()}};
  } catch (const Error& error) {
    return {{"found", false}, {"trouble", error.what()}, {"hint", error.hint()}};
  }
}

ordered_json collect() {
  ordered_json json = {{"hogpen", HOGPEN_VERSION},
                       {"build_type", HOGPEN_BUILD_TYPE},
                       {"compiler", HOGPEN_COMPILER},
                       {"libtorch", TORCH_VERSION}};
  json["machine"] = machine();
  json["cuda"] = cuda();
  json["fashion_mnist"] = fashion_mnist();
  return json;
}

std::string gibibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1ULL << 30));
}

std::string limit_text(const ordered_json& limit, const char* unit) {
  return limit.is_null() ? "unlimited" : fmt::format("{}{}", limit.get<std::uint64_t>(), unit);
}

std::string machine_text(const ordered_json& machine) {
  std::string text =
      fmt::format("cpu            {}, {}\n", machine["cpu"].get<std::string>(), machine["simd"].get<std::string>());
  text += fmt::format("usable cpus    {} ({} in the affinity mask, then the cgroup's quota)\n",
                      machine["usable_cpus"].get<int>(), machine["cpus_in_affinity_mask"].get<int>());
  text += fmt::format("memory         {} available, says {}\n",
                      gibibytes(machine["memory_available_bytes"].get<std::uint64_t>()),
                      machine["memory_limit"].get<std::string>());
  text += fmt::format("limits         ulimit -n (open files) {}, -f (file size) {}, -l (locked memory) {}\n",
                      limit_text(machine["max_open_files"], ""), limit_text(machine["max_file_bytes"], " bytes"),
                      limit_text(machine["max_locked_bytes"], " bytes"));
  return text + "shared memory  anonymous memfd segments: /dev/shm and its size do not matter\n";
}

std::string cuda_text(const ordered_json& cuda) {
  std::string text = cuda["built"].get<bool>()
                         ? "cuda           built with CUDA kernels\n"
                         : "cuda           built without CUDA kernels; with nvcc 13: cmake -DHOGPEN_CUDA=ON\n";
  const auto trouble = cuda["trouble"].get<std::string>();
  const auto version = cuda["driver_cuda_version"].get<std::string>();
  if (!version.empty()) text += fmt::format("driver         for CUDA up to {}\n", version);
  if (!trouble.empty()) text += fmt::format("gpus           none: {}\n", trouble);
  for (const ordered_json& gpu : cuda["gpus"]) {
    text += fmt::format("gpu            {}, {}\n", gpu["name"].get<std::string>(),
                        gibibytes(gpu["memory_bytes"].get<std::uint64_t>()));
  }
  return text;
}

std::string data_text(const ordered_json& data) {
  if (!data["found"].get<bool>()) {
    return fmt::format("fashion-mnist  not found: {}\n               {}\n", data["trouble"].get<std::string>(),
                       data["hint"].get<std::string>());
  }
  return fmt::format("fashion-mnist  found: {} samples to train on, {} to test on\n",
                     data["train_samples"].get<std::int64_t>(), data["test_samples"].get<std::int64_t>());
}

int inform(bool as_json) {
  const ordered_json all = collect();
  if (as_json) {
    write_stdout(all.dump() + "\n");
    return 0;
  }
  write_stdout(fmt::format("hogpen         {} ({}, {})\nlibtorch       {}\n", all["hogpen"].get<std::string>(),
                           all["build_type"].get<std::string>(), all["compiler"].get<std::string>(),
                           all["libtorch"].get<std::string>()) +
               machine_text(all["machine"]) + cuda_text(all["cuda"]) + data_text(all["fashion_mnist"]));
  return 0;
}

}  // namespace

Command add_info(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("info", "What hogpen was built with, and what this machine offers");
  const auto as_json = std::make_shared<bool>(false);
  parser->add_flag("--json", *as_json, "Print one JSON object");
  parser->footer(kFooter);
  return {parser, [as_json](const Arguments&) { return inform(*as_json); }};
}

}  // namespace hogpen
