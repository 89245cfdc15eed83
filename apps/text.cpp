#include "apps/text.h"

#include <fmt/format.h>

#include <cmath>

namespace hogpen {

std::string abbreviate(double number) {
  const char* unit = "";
  // From 999.5 on, three digits would round to 1000.
  for (const char* larger : {" k", " M", " G"}) {
    if (number < 999.5) break;
    number /= 1000.0;
    unit = larger;
  }
  const int decimals = *unit == '\0' || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", number, decimals, unit);
}

std::string with_separators(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  const auto minutes = whole / 60 % 60;
  return whole < 3600 ? fmt::format("{}:{:02}", minutes, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, minutes, whole % 60);
}

}  // namespace hogpen
