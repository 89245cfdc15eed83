#include "models/trainer_options.h"

#include <charconv>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

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

std::optional<int> gpu_named(const std::string& device) {
  constexpr std::string_view kNumbered = "cuda:";
  if (device == "cpu") return {};
  if (device == "auto" || device == "cuda") return 0;
  int gpu = -1;
  const bool is_numbered = device.starts_with(kNumbered);
  const char* const end = device.data() + device.size();
  const auto result = std::from_chars(device.data() + (is_numbered ? kNumbered.size() : 0), end, gpu);
  require(is_numbered && result.ptr == end && result.ec == std::errc() && gpu >= 0,
          "a device is auto, cpu, cuda, or cuda:N for GPU N, but not {}", device);
  return gpu;
}

}  // namespace hogpen
