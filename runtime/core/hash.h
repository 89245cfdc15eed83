#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace hogpen {

/// A hash that is the same in every process and program, unlike what std::hash promises; not one against attackers.
///
/// Steps of FNV-1a over words instead of bytes; the shift brings the upper bits, which the product mixes best, down.
/// For a given state a step maps different words to different states, so that no single changed word goes unseen.
[[nodiscard]] inline std::uint64_t hash_of(std::string_view text) noexcept {
  const auto mix = [](std::uint64_t state, std::uint64_t word) {
    const std::uint64_t product = (state ^ word) * 0x9e3779b97f4a7c15u;
    return product ^ (product >> 32);
  };
  std::uint64_t hash = text.size();
  std::uint64_t word = 0;
  for (; text.size() >= sizeof(word); text.remove_prefix(sizeof(word))) {
    std::memcpy(&word, text.data(), sizeof(word));
    hash = mix(hash, word);
  }
  word = 0;
  std::memcpy(&word, text.data(), text.size());
  return mix(hash, word);
}

}  // namespace hogpen
