#pragma once

#include <cstdint>
#include <string>

/// Numbers as people read them.
namespace hogpen {

/// "102 k", "1.23 M", "950".
[[nodiscard]] std::string abbreviate(double number);
/// "1,234,567".
[[nodiscard]] std::string with_separators(std::int64_t number);
/// "1:05", "2:00:00"; a second that has begun counts.
[[nodiscard]] std::string clock_time(double seconds);
/// The ending of a word of which there are so many.
[[nodiscard]] constexpr const char* plural(std::int64_t count) noexcept {
  return count == 1 ? "" : "s";
}

}  // namespace hogpen
