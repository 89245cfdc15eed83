#include "models/trainer_options.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "runtime/core/error.h"

namespace hogpen {

UpdateMode update_mode(const std::string& name) {
  for (const UpdateMode mode : {UpdateMode::hogwild, UpdateMode::atomic, UpdateMode::locked, UpdateMode::sync}) {
    if (name == to_string(mode)) return mode;
  }
  throw UsageError(fmt::format("unknown mode '{}'", name), "one of hogwild, atomic, locked, sync");
}

std::string to_string(UpdateMode mode) {
  switch (mode) {
    case UpdateMode::hogwild:
      return "hogwild";
    case UpdateMode::atomic:
      return "atomic";
    case UpdateMode::locked:
      return "locked";
    case UpdateMode::sync:
      return "sync";
  }
  return "?";
}

Engine engine_named(const std::string& name) {
  for (const Engine engine : {Engine::automatic, Engine::fused, Engine::autograd}) {
    if (name == to_string(engine)) return engine;
  }
  throw UsageError(fmt::format("unknown engine '{}'", name), "one of auto, fused, autograd");
}

std::string to_string(Engine engine) {
  switch (engine) {
    case Engine::automatic:
      return "auto";
    case Engine::fused:
      return "fused";
    case Engine::autograd:
      return "autograd";
    case Engine::own:
      return "own";
  }
  return "?";
}

std::vector<int> gpus_named(const std::string& device) {
  constexpr std::string_view kNumbered = "cuda:";
  if (device == "cpu") return {};
  if (device == "auto" || device == "cuda") return {0};
  std::vector<int> gpus;
  const char* const end = device.data() + device.size();
  const char* at = device.data() + (device.starts_with(kNumbered) ? kNumbered.size() : device.size());
  for (bool is_list = at != end; is_list;) {
    int gpu = -1;
    const auto [next, error] = std::from_chars(at, end, gpu);
    is_list = error == std::errc() && gpu >= 0 && (next == end || *next == ',');
    if (!is_list) break;
    require(std::ranges::find(gpus, gpu) == gpus.end(), "the device {} has GPU {} twice", device, gpu);
    gpus.push_back(gpu);
    if (next == end) return gpus;
    at = next + 1;
  }
  throw UsageError(
      fmt::format("a device is auto, cpu, cuda, or cuda:N or cuda:N,M for GPUs N and M, but not {}", device));
}

std::string device_of(std::span<const int> gpus) {
  return gpus.empty() ? "cpu" : fmt::format("cuda:{}", fmt::join(gpus, ","));
}

}  // namespace hogpen
