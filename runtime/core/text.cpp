#include "runtime/core/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace hogpen {
namespace {

// Of the character at the front; 0 where it is none of UTF-8, or one that would steer a terminal.
std::size_t visible_bytes(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 && lead != 0x7F ? 1 : 0;
  const std::size_t size = lead < 0xC2 || lead > 0xF4 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool is_control = lead == 0xC2 && byte(1) < 0xA0;
  return is_control ? 0 : size;
}

}  // namespace

std::string shown(std::string_view text) {
  constexpr std::size_t kMostBytes = 40;
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = visible_bytes(text.substr(at));
    if (at + std::max(size, std::size_t{1}) > kMostBytes) return result + "…";
    if (size == 0) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at++]));
    } else {
      result += text.substr(at, size);
      at += size;
    }
  }
  return result;
}

std::string listed(const std::vector<std::string>& texts) {
  constexpr std::size_t kMost = 8;
  std::vector<std::string> first;
  for (std::size_t i = 0; i < std::min(texts.size(), kMost); ++i) first.push_back(shown(texts[i]));
  const std::string rest = texts.size() > kMost ? fmt::format(" and {} more", texts.size() - kMost) : "";
  return fmt::format("{}{}", fmt::join(first, ", "), rest);
}

}  // namespace hogpen
