#pragma once

#include <arrow/buffer.h>
#include <arrow/csv/options.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

namespace hogpen::detail {

/// Whole rows of a CSV file.
struct CsvBlock {
  std::shared_ptr<arrow::Buffer> bytes;
  std::int64_t begin = 0;      ///< where in the file, decompressed
  bool is_last = false;        ///< its last row may have no end of line
  std::int64_t open_row = -1;  ///< where, likewise, a row begins whose quote is not closed before the file ends; or -1

  [[nodiscard]] std::string_view text() const { return std::string_view(*bytes); }
};

/// Cuts a CSV file, which may be compressed (.gz), into blocks of whole rows: a newline between quotes ends none.
///
/// Sharing: one thread at a time. Owns: the file. It is read, not mapped: pages of a mapping would count as memory of
/// this process, and a file that is cut meanwhile would be its death.
class CsvBlocks {
 public:
  /// Throws: SystemError for a file that cannot be read; FormatError for a damaged compressed one, also later.
  CsvBlocks(const std::filesystem::path& file, const arrow::csv::ParseOptions& options, std::size_t block_bytes);
  ~CsvBlocks();
  CsvBlocks(const CsvBlocks&) = delete;
  CsvBlocks& operator=(const CsvBlocks&) = delete;

  [[nodiscard]] std::optional<CsvBlock> next();
  /// Of the file as it lies on disk: read so far, and all.
  [[nodiscard]] std::int64_t bytes_read() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hogpen::detail
