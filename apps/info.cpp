#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/build.h"
#include "apps/cli.h"
#include "apps/machine.h"
#include "apps/output.h"
#include "models/dataset.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

using nlohmann::ordered_json;

constexpr const char* kInfoFooter = R"(Exit codes:
  0 done, whatever was found   1 failed   2 wrong usage)";

ordered_json cuda() {
  ordered_json gpus = describe_gpus();
  ordered_json json = {{"built", kBuild.has_cuda}, {"usable", kBuild.has_cuda && !gpus["gpus"].empty()}};
  json.update(gpus);
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
  ordered_json json = describe_build();
  json["machine"] = describe_machine();
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

std::string caches_text(const ordered_json& caches) {
  std::string text;
  for (const auto& [name, bytes] : caches.items()) {
    text += fmt::format("{}{} KiB {}", text.empty() ? "" : ", ", bytes.get<std::uint64_t>() / 1024, name);
  }
  return text.empty() ? "unknown" : text;
}

std::string machine_text(const ordered_json& machine) {
  std::string text =
      fmt::format("cpu            {}, {}\n", machine["cpu"].get<std::string>(), machine["simd"].get<std::string>());
  text += fmt::format("caches         {}\n", caches_text(machine["cache_bytes"]));
  text += fmt::format("usable cpus    {} ({} in the affinity mask, then the cgroup's quota)\n",
                      machine["usable_cpus"].get<int>(), machine["cpus_in_affinity_mask"].get<int>());
  text += fmt::format("numa nodes     {}\n", machine["numa_nodes"].get<int>());
  text += fmt::format("memory         {} available, says {}\n",
                      gibibytes(machine["memory_available_bytes"].get<std::uint64_t>()),
                      machine["memory_limit"].get<std::string>());
  text += fmt::format("limits         ulimit -n (open files) {}, -f (file size) {}, -l (locked memory) {}\n",
                      limit_text(machine["max_open_files"], ""), limit_text(machine["max_file_bytes"], " bytes"),
                      limit_text(machine["max_locked_bytes"], " bytes"));
  return text + fmt::format("shared memory  anonymous memfd segments: /dev/shm and its size do not matter; {}\n",
                            machine["huge_pages"].get<bool>() ? "in huge pages from 2 MiB on where that pays"
                                                              : "this system gives no huge pages");
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
  write_stdout(fmt::format("hogpen         {} ({}, {}, commit {})\nlibtorch       {}\n",
                           all["hogpen"].get<std::string>(), all["build_type"].get<std::string>(),
                           all["compiler"].get<std::string>(), all["commit"].get<std::string>(),
                           all["libtorch"].get<std::string>()) +
               machine_text(all["machine"]) + cuda_text(all["cuda"]) + data_text(all["fashion_mnist"]));
  return 0;
}

}  // namespace

Command add_info(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("info", "What hogpen was built with, and what this machine offers");
  const auto as_json = std::make_shared<bool>(false);
  parser->add_flag("--json", *as_json, "Print one JSON object");
  parser->footer(kInfoFooter);
  return {parser, [as_json](const Arguments&) { return inform(*as_json); }};
}

}  // namespace hogpen
