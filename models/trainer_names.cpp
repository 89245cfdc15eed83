#include <fmt/format.h>

#include "models/trainer.h"
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
  if (name == "auto") return Engine::automatic;
  if (name == "fused") return Engine::fused;
  if (name == "autograd") return Engine::autograd;
  throw UsageError(fmt::format("unknown engine '{}'", name), "one of auto, fused, autograd");
}

}  // namespace hogpen
