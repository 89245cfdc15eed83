#pragma once

#include <optional>
#include <string_view>

namespace hogpen {

enum class TableFile { csv, tsv, parquet, ipc };

/// By the end of its name: .csv, .tsv (both also .gz), .parquet, .arrow, .feather. None for another. Needs no Arrow.
[[nodiscard]] constexpr std::optional<TableFile> table_file_named(std::string_view name) noexcept {
  if (name.ends_with(".csv") || name.ends_with(".csv.gz")) return TableFile::csv;
  if (name.ends_with(".tsv") || name.ends_with(".tsv.gz")) return TableFile::tsv;
  if (name.ends_with(".parquet")) return TableFile::parquet;
  if (name.ends_with(".arrow") || name.ends_with(".feather")) return TableFile::ipc;
  return {};
}

}  // namespace hogpen
