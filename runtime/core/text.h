#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Text that came from outside: in files, and as error messages show it.
namespace hogpen {

/// Bytes that are text.
[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What an error message may quote: control characters and bytes that are no UTF-8 as "\x1b", and of a long text 40
/// bytes and "…".
[[nodiscard]] std::string shown(std::string_view text);

/// "a, b, c": each as `shown`; of more than 8 the first ones "and 5 more".
[[nodiscard]] std::string listed(const std::vector<std::string>& texts);

}  // namespace hogpen
