#pragma once

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace hogpen::detail {

/// Whether a number is NaN or infinite when all bits of `kMask`, the exponent's, are set. Blocks are examined without a
/// branch, so that the compiler vectorises the loop.
template <class Word, Word kMask>
bool any_has_all_bits(std::span<const std::byte> data) {
  constexpr std::size_t kBlock = 4096;
  for (; !data.empty(); data = data.subspan(std::min(data.size(), kBlock * sizeof(Word)))) {
    const std::size_t count = std::min(kBlock, data.size() / sizeof(Word));
    Word found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      Word word;
      std::memcpy(&word, data.data() + i * sizeof(Word), sizeof(Word));
      found = static_cast<Word>(found | static_cast<Word>((word & kMask) == kMask));
    }
    if (found != 0) return true;
  }
  return false;
}

/// Whether any of the numbers is NaN or infinite. Integers never are.
///
/// Requires: `data.size()` is a multiple of the dtype's size.
inline bool has_nan_or_inf(std::span<const std::byte> data, c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Float:
      return any_has_all_bits<std::uint32_t, 0x7f80'0000>(data);
    case c10::ScalarType::Double:
      return any_has_all_bits<std::uint64_t, 0x7ff0'0000'0000'0000>(data);
    case c10::ScalarType::Half:
      return any_has_all_bits<std::uint16_t, 0x7c00>(data);
    case c10::ScalarType::BFloat16:
      return any_has_all_bits<std::uint16_t, 0x7f80>(data);
    case c10::ScalarType::Float8_e5m2:
      return any_has_all_bits<std::uint8_t, 0x7c>(data);
    case c10::ScalarType::Float8_e4m3fn:  // has no infinity, and one NaN of each sign
      return any_has_all_bits<std::uint8_t, 0x7f>(data);
    default:
      return false;
  }
}

}  // namespace hogpen::detail
