#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/memory/safetensors.h"

namespace hogpen {

/// Where the tensors of an Arena lie, in a form that is used as it lies in shared memory: nothing is parsed, copied or
/// allocated, so that attaching to 1000 tensors touches a few pages only.
///
/// In a safetensors file the table is the data of a filler tensor, the first: other readers skip it, and checkpoints
/// leave it out. It holds a row a tensor, the shapes, the names, and an index of the names. Who can write to the memory
/// can spoil the table at any time; so every use checks what it reads, and at worst throws.
///
/// Sharing: const members may be called from several threads.
/// Owns: the bytes of a table made by `of`; else nothing, and the memory must outlive it.
/// Source: of the index: open addressing with linear probing, at most half full (Knuth, TAOCP 3, 6.4, algorithm L).
class LayoutTable {
 public:
  /// A tensor: bytes [begin, end) of the data section.
  struct Entry {
    std::string_view name;
    c10::ScalarType dtype = c10::ScalarType::Undefined;
    c10::SmallVector<std::int64_t, 5> shape;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  LayoutTable(LayoutTable&&) noexcept = default;
  LayoutTable& operator=(LayoutTable&&) noexcept = default;

  /// Adds the filler to `header`, as its first tensor.
  static void reserve_in(SafetensorsHeader& header);
  /// Writes the table of a header to which `reserve_in` has added it, at the beginning of the file's data section.
  ///
  /// Requires: data_begin is set.
  static LayoutTable write(const SafetensorsHeader& header, std::span<std::byte> data);
  /// A table in memory of its own.
  [[nodiscard]] static LayoutTable of(const SafetensorsHeader& header);
  /// The table in a file, if it has one. Throws: FormatError for one whose parts exceed it.
  [[nodiscard]] static std::optional<LayoutTable> find_in(std::span<const std::byte> file);

  /// Throws: FormatError unless every tensor is one that can be viewed, and they cover the data without holes.
  void check() const;

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t data_begin() const noexcept { return data_begin_; }
  [[nodiscard]] std::size_t data_bytes() const noexcept { return data_bytes_; }
  /// The i-th tensor. Requires: i < size(). Throws: FormatError when it doesn't lie in the data or is not aligned.
  [[nodiscard]] Entry entry(std::size_t i) const;
  /// The index of the tensor of that name.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const noexcept;
  /// A hash of names, dtypes, shapes and places, as the table's maker has written it.
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  friend bool operator==(const LayoutTable& a, const LayoutTable& b) noexcept;

 private:
  struct Head;
  struct Row;

  LayoutTable(std::span<const std::byte> bytes, const Head& head) noexcept;
  static Head fill(const SafetensorsHeader& header, std::span<std::byte> bytes);
  void check(const Row& row, std::span<const std::int64_t> shape) const;
  [[nodiscard]] std::span<const std::int64_t> shape_of(const Row& row) const;
  [[nodiscard]] std::string_view name_of(const Row& row) const noexcept;
  [[noreturn]] void fail(const Row& row, std::string_view message) const;

  std::vector<std::uint64_t> own_;
  std::span<const std::byte> bytes_;
  std::uint64_t hash_ = 0;
  std::size_t data_begin_ = 0;
  std::size_t data_bytes_ = 0;
  std::span<const Row> rows_;
  std::span<const std::int64_t> sizes_;   // of all shapes, one after the other
  std::span<const std::uint32_t> slots_;  // the row of a name, at the hash of the name or after it
  std::string_view names_;                // of all tensors, one after the other
};

}  // namespace hogpen
