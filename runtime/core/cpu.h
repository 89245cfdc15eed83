#pragma once

#include <string>

namespace hogpen {

/// The name of this machine's CPU, as /proc/cpuinfo has it; "unknown" where it has none.
[[nodiscard]] std::string cpu_model();

}  // namespace hogpen
