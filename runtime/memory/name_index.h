#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/memory/safetensors.h"

namespace hogpen {

/// Finds tensors by name. One allocation for all names.
///
/// Sharing: const members may be called from several threads.
/// Owns: the table; the entries must not move or change while it is used.
/// Source: open addressing with linear probing, at most half full (Knuth, TAOCP 3, 6.4, algorithm L).
class NameIndex {
 public:
  explicit NameIndex(std::span<const TensorEntry> entries)
      : entries_(entries), slots_(std::bit_ceil(2 * entries.size() + 1), kEmpty) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      std::uint32_t& slot = slots_[slot_of(entries[i].spec.name)];
      if (slot == kEmpty) {
        slot = static_cast<std::uint32_t>(i);
      } else if (!duplicate_) {
        duplicate_ = i;
      }
    }
  }

  /// The index of the entry of that name.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const {
    const std::uint32_t index = slots_[slot_of(name)];
    return index == kEmpty ? std::nullopt : std::optional<std::size_t>(index);
  }

  /// The index of the first entry whose name an earlier one has.
  [[nodiscard]] std::optional<std::size_t> duplicate() const noexcept { return duplicate_; }

 private:
  static constexpr std::uint32_t kEmpty = std::numeric_limits<std::uint32_t>::max();

  // The slot that holds the name, or the empty one where it would go.
  [[nodiscard]] std::size_t slot_of(std::string_view name) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = std::hash<std::string_view>{}(name)&mask;
    while (slots_[slot] != kEmpty && entries_[slots_[slot]].spec.name != name) slot = (slot + 1) & mask;
    return slot;
  }

  std::span<const TensorEntry> entries_;
  std::vector<std::uint32_t> slots_;
  std::optional<std::size_t> duplicate_;
};

}  // namespace hogpen
