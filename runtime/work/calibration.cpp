#include "runtime/work/calibration.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "kernels/transform.h"
#include "runtime/core/cpu.h"
#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/work/elementwise.h"
#include "runtime/work/pool.h"

namespace hogpen {
namespace {

using kernels::UnaryOp;
using nlohmann::ordered_json;

constexpr int kFormatVersion = 1;
constexpr std::uint64_t kLeastElements = std::uint64_t{1} << 10;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 24;
constexpr double kWorthIt = 0.95;  // of the other's time

std::string machine_name(int threads) {
  const int gpus = kernels::cuda_devices();
  return fmt::format("{}, {} threads, {} GPUs", cpuinfo("model name"), threads, gpus);
}

double seconds_of_one(UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& executor) {
  const auto begin = std::chrono::steady_clock::now();
  transform_into(op, in, out, executor);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The median of a few runs, in turns with those of `other`.
std::pair<double, double> compare(UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& one,
                                  Executor& other) {
  constexpr std::size_t kRuns = 7;
  std::array<double, kRuns> of_one;
  std::array<double, kRuns> of_other;
  for (std::size_t i = 0; i < kRuns; ++i) {
    of_one[i] = seconds_of_one(op, in, out, one);
    of_other[i] = seconds_of_one(op, in, out, other);
  }
  std::ranges::nth_element(of_one, of_one.begin() + kRuns / 2);
  std::ranges::nth_element(of_other, of_other.begin() + kRuns / 2);
  return {of_one[kRuns / 2], of_other[kRuns / 2]};
}

/// The least size at which `other` was faster than `one`, and at twice the size as well: one win may be chance. Larger
/// sizes do not count: where memory is the limit, all places are alike.
std::uint64_t break_even(UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& one, Executor& other) {
  std::uint64_t won_from = BreakEven::kNever;
  for (std::uint64_t n = kLeastElements; n <= kMostElements; n *= 2) {
    const auto length = static_cast<std::int64_t>(n);
    const auto [alone, helped] = compare(op, in.narrow(0, 0, length), out.narrow(0, 0, length), one, other);
    if (helped > kWorthIt * alone) {
      won_from = BreakEven::kNever;
    } else if (won_from != BreakEven::kNever) {
      return won_from;
    } else {
      won_from = n;
    }
  }
  return won_from;
}

ordered_json to_json(const BreakEven& from) {
  const auto number = [](std::uint64_t n) { return n == BreakEven::kNever ? ordered_json() : ordered_json(n); };
  return {{"threads", number(from.threads)}, {"processes", number(from.processes)}, {"gpu", number(from.gpu)}};
}

BreakEven break_even_from(const ordered_json& json) {
  const auto number = [&](const char* key) {
    const ordered_json& value = json.at(key);
    return value.is_null() ? BreakEven::kNever : value.get<std::uint64_t>();
  };
  return {.threads = number("threads"), .processes = number("processes"), .gpu = number("gpu")};
}

}  // namespace

const BreakEven& Calibration::of(UnaryOp::Kind kind) const noexcept {
  using enum UnaryOp::Kind;
  return kind == exp || kind == log || kind == sigmoid || kind == tanh ? heavy : light;
}

Calibration calibrate(int threads) {
  // Before anything that starts threads, because it forks.
  Pool processes({.workers = threads});
  Executor caller({.place = Place::caller});
  Executor by_threads({.place = Place::threads, .threads = threads});
  Executor by_processes({.place = Place::processes, .processes = &processes});
  const at::Tensor in = empty_shared({static_cast<std::int64_t>(kMostElements)}, c10::ScalarType::Float);
  const at::Tensor out = empty_shared(in.sizes(), in.scalar_type());
  // Not by tensor operations: they might start threads of OpenMP, which stay.
  std::fill_n(in.mutable_data_ptr<float>(), kMostElements, 0.5F);
  std::fill_n(out.mutable_data_ptr<float>(), kMostElements, 0.5F);
  Calibration calibration;
  calibration.machine = machine_name(threads);
  for (const auto& [kind, from] :
       {std::pair{UnaryOp::Kind::square, &calibration.light}, std::pair{UnaryOp::Kind::exp, &calibration.heavy}}) {
    const UnaryOp op{.kind = kind};
    from->threads = threads > 1 ? break_even(op, in, out, caller, by_threads) : BreakEven::kNever;
    from->processes = break_even(op, in, out, caller, by_processes);
    if (kernels::cuda_devices() > 0) {
      Executor by_gpu({.place = Place::gpu});
      from->gpu = break_even(op, in, out, threads > 1 ? by_threads : caller, by_gpu);
    }
  }
  return calibration;
}

std::filesystem::path calibration_path() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::filesystem::path(cache) / "hogpen" / "calibration.json";
  }
  const char* home = std::getenv("HOME");
  require(home != nullptr && *home != '\0', "HOME or XDG_CACHE_HOME must be set to find the calibration");
  return std::filesystem::path(home) / ".cache" / "hogpen" / "calibration.json";
}

Calibration stored_calibration(const std::filesystem::path& path, int threads) {
  std::string text;
  try {
    text = read_file(path);
  } catch (const SystemError&) {  // Not there, or not for this user: the defaults will do.
    return {};
  }
  try {
    const auto json = ordered_json::parse(text);
    Calibration stored;
    if (json.at("version") != kFormatVersion || json.at("machine") != machine_name(threads)) return {};
    stored.machine = json.at("machine").get<std::string>();
    stored.light = break_even_from(json.at("light"));
    stored.heavy = break_even_from(json.at("heavy"));
    return stored;
  } catch (const ordered_json::exception& error) {
    throw FormatError(path.string(), "JSON", error.what(), "remove it, or measure again: hogpen map --calibrate");
  }
}

void store_calibration(const std::filesystem::path& path, const Calibration& calibration) {
  std::error_code trouble;
  std::filesystem::create_directories(path.parent_path(), trouble);
  if (trouble) throw SystemError("create the directory " + path.parent_path().string(), trouble.value());
  const ordered_json json = {{"version", kFormatVersion},
                             {"machine", calibration.machine},
                             {"light", to_json(calibration.light)},
                             {"heavy", to_json(calibration.heavy)}};
  write_atomically(FileSystem::real(), path, json.dump(2) + "\n");
}

}  // namespace hogpen
