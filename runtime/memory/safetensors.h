#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace hogpen {

/// The size in bytes of an element; 0 for a dtype that the format cannot hold.
[[nodiscard]] constexpr std::size_t safetensors_item_bytes(c10::ScalarType dtype) noexcept {
  switch (dtype) {
    using enum c10::ScalarType;
    case Double:
    case Long:
    case UInt64:
      return 8;
    case Float:
    case Int:
    case UInt32:
      return 4;
    case Half:
    case BFloat16:
    case Short:
    case UInt16:
      return 2;
    case Char:
    case Byte:
    case Bool:
    case Float8_e5m2:
    case Float8_e4m3fn:
      return 1;
    default:
      return 0;
  }
}

/// What a tensor is, without its values.
struct TensorSpec {
  std::string name;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> shape;

  [[nodiscard]] std::int64_t numel() const noexcept;
  [[nodiscard]] std::size_t size_bytes() const noexcept;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

/// A tensor's place in a safetensors file: bytes [begin, end) of the data section.
struct TensorEntry {
  TensorSpec spec;
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The header of a safetensors file. Source: the format's description at
/// https://huggingface.co/docs/safetensors (8-byte little-endian header length N, N bytes of JSON, data without holes).
struct SafetensorsHeader {
  std::vector<TensorEntry> entries;             ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
  std::size_t data_begin = 0;                   ///< file offset of the data section: 8 + N
  std::size_t data_bytes = 0;

  /// The bytes of a file before its data, padded with spaces so that the data begins at a multiple of `alignment`.
  ///
  /// Throws: UsageError when a name or the metadata is not UTF-8, or the header gets longer than the format allows.
  [[nodiscard]] std::string to_bytes(std::size_t alignment) const;
};

/// Largest header the format allows, in bytes.
inline constexpr std::size_t kMaxSafetensorsHeaderBytes = 100'000'000;

/// Reads and checks the header at the start of `file` (the whole file, mapped or read). `name` is for errors.
///
/// Throws: FormatError with the byte of the trouble: file too short, length beyond the file, no JSON, unknown dtype,
/// shape × dtype unlike its byte range, ranges that overlap, leave holes or end elsewhere than the file.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& name);

/// Computes where each tensor lies: tensors whose size is a multiple of 64 first, in the order given, the others after
/// them; a filler tensor named "__pad__.N" (U8) where the next one would otherwise not start on 64 bytes. So the file
/// has no holes, every tensor is aligned, and most models need no filler.
///
/// Throws: UsageError for a name given twice, or that is "__metadata__" or begins with "__pad__".
[[nodiscard]] SafetensorsHeader lay_out(std::span<const TensorSpec> specs,
                                        std::map<std::string, std::string> metadata = {});

/// Whether an entry is a filler of `lay_out`.
[[nodiscard]] bool is_padding(const TensorEntry& entry) noexcept;

}  // namespace hogpen
