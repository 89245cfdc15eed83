#pragma once

#include <string>
#include <string_view>

namespace hogpen {

/// The value of the first line "key : value" of /proc/cpuinfo; empty when there is none.
[[nodiscard]] std::string cpuinfo(std::string_view key);

}  // namespace hogpen
