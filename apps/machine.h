#pragma once

#include <nlohmann/json_fwd.hpp>

namespace hogpen {

/// What this program was built from: version, git commit, build type, sanitizer, compiler, LibTorch.
[[nodiscard]] nlohmann::ordered_json describe_build();

/// The CPU with its caches and clock, the memory, the kernel, the limits of this process.
///
/// Throws: SystemError, FormatError, as `memory_limit` does.
[[nodiscard]] nlohmann::ordered_json describe_machine();

/// NVIDIA's driver and the GPUs it has to offer. Asks the driver: see `ask_driver` for what that forbids.
[[nodiscard]] nlohmann::ordered_json describe_gpus();

}  // namespace hogpen
