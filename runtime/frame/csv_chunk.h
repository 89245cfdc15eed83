#pragma once

#include <arrow/csv/converter.h>
#include <arrow/csv/options.h>
#include <arrow/csv/parser.h>
#include <arrow/type_fwd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/frame/csv.h"
#include "runtime/frame/csv_blocks.h"
#include "runtime/frame/plan.h"

namespace hogpen::detail {

/// What Arrow's parts of a CSV reader must know of a file.
///
/// Sharing: immutable once the schema is there.
struct CsvFormat {
  explicit CsvFormat(const CsvOptions& options);

  arrow::csv::ParseOptions parse;
  arrow::csv::ConvertOptions convert;
  SchemaPtr schema;  ///< of all columns
  bool has_header;
};

/// Throws: FormatError with the row of the block's `open_row`: Arrow would close its quote at the end of the file.
[[noreturn]] void refuse_open_row(const CsvFormat& format, const CsvBlock& block, const std::filesystem::path& file);

/// Parses a block. `columns` is how many there must be; -1 takes as many as the first row has.
///
/// Throws: FormatError with the number of the row that has others, or a quote that is not closed.
[[nodiscard]] std::unique_ptr<arrow::csv::BlockParser> parse_block(const CsvFormat& format, const CsvBlock& block,
                                                                   int columns, const std::filesystem::path& file);

/// A chunk with these of the columns. Throws: FormatError with row and column of what does not fit.
[[nodiscard]] Batch read_chunk(const CsvFormat& format, const CsvBlock& block, const Columns& needed,
                               const std::filesystem::path& file);

/// The type that all values of a parsed column have. Throws: what Arrow says of memory.
[[nodiscard]] std::shared_ptr<arrow::DataType> infer_type(const CsvFormat& format,
                                                          const arrow::csv::BlockParser& parser, int column);

}  // namespace hogpen::detail
