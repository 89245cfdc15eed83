#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

namespace hogpen {

/// Sizes of blocks: 64, 128, 192 and 256 bytes, then four steps a doubling (320, 384, 448, 512, 640, …) up to 2^40. So
/// a block wastes at most a quarter of what was asked, and from 256 bytes up a fifth of itself.
inline constexpr unsigned kSizeClasses = 132;
inline constexpr std::size_t kBlockAlignment = 64;
inline constexpr std::size_t kMaxBlockBytes = std::size_t{1} << 40;

/// The smallest class whose blocks hold that many bytes. Requires: at most kMaxBlockBytes.
[[nodiscard]] constexpr unsigned size_class_of(std::size_t bytes) noexcept {
  const std::size_t last = (std::max<std::size_t>(bytes, 1) - 1) / kBlockAlignment;  // of 64-byte units, from 0
  if (last < 4) return static_cast<unsigned>(last);
  const auto shift = static_cast<unsigned>(std::bit_width(last)) - 3;
  return 4 * shift + static_cast<unsigned>(last >> shift);
}

[[nodiscard]] constexpr std::size_t class_bytes(unsigned size_class) noexcept {
  if (size_class < 4) return (size_class + 1) * kBlockAlignment;
  return (std::size_t{size_class % 4} + 5) << (size_class / 4 - 1) << std::countr_zero(kBlockAlignment);
}

/// Blocks of this class and above begin on a page and are whole pages: their memory can be given back to the system.
inline constexpr std::size_t kHeapPageBytes = 4096;
inline constexpr unsigned kFirstPagedClass = size_class_of(4 * kHeapPageBytes);

static_assert(size_class_of(kMaxBlockBytes) == kSizeClasses - 1);
static_assert(class_bytes(kSizeClasses - 1) == kMaxBlockBytes);
static_assert(class_bytes(kFirstPagedClass) % kHeapPageBytes == 0);
static_assert(class_bytes(kFirstPagedClass + 1) % kHeapPageBytes == 0);

}  // namespace hogpen
