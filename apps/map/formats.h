#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/map/mapper.h"
#include "runtime/memory/replacement_file.h"

/// The file formats of `hogpen map`: each reads a whole file from its mapping and writes one like it, in pieces, so
/// that it may be larger than the memory.
namespace hogpen {

/// What of a file is mapped.
struct MapRequest {
  std::optional<std::string> column;  ///< a name or an index; none: all
  std::vector<std::string> tensors;   ///< of a safetensors file; none: all that hold floating-point numbers
  char delimiter = ',';               ///< of a CSV file
  bool has_header = true;             ///< the CSV file's first line holds the names of its columns
};

/// A file to read, and its name for errors.
struct Source {
  std::span<const std::byte> bytes;
  std::string name;
};

/// Throws: FormatError, UsageError for what is not in the file or holds no floating-point numbers, SystemError,
/// Stopped.
void map_npy(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper);
/// As `map_npy`.
void map_safetensors(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper);
/// Numbers are computed in float64, and written with the fewest digits that read back the same; empty fields stay, and
/// so does each byte of the other columns.
///
/// Throws: as `map_npy`; FormatError also for a mapped field that is no number.
void map_csv(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper);

/// The index that a text says, from the end where it is negative.
///
/// Throws: UsageError when it is none, or there are not so many.
[[nodiscard]] std::int64_t column_index(const std::string& text, std::int64_t columns, const std::string& file);

}  // namespace hogpen
