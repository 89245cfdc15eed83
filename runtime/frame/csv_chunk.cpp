#include "runtime/frame/csv_chunk.h"

#include <arrow/array.h>
#include <arrow/csv/invalid_row.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <charconv>
#include <limits>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace csv = arrow::csv;
namespace fs = std::filesystem;

constexpr std::size_t kSearchBlock = std::size_t{1} << 20;
constexpr std::int32_t kMostRows = std::numeric_limits<std::int32_t>::max();  // of a block: all that it has

/// How many rows of data stand before that byte: for errors alone, since it reads the file up to there.
std::int64_t rows_before(const CsvFormat& format, std::int64_t end, const fs::path& file) {
  csv::ParseOptions all_rows = format.parse;
  all_rows.invalid_row_handler = [](const csv::InvalidRow&) { return csv::InvalidRowResult::Skip; };
  CsvBlocks blocks(file, format.parse, kSearchBlock);
  std::int64_t rows = format.has_header ? -1 : 0;
  while (const auto block = blocks.next()) {
    if (block->begin >= end) break;
    csv::BlockParser parser(all_rows, format.schema ? format.schema->num_fields() : -1, -1, kMostRows);
    std::uint32_t parsed = 0;
    arrow_ok(parser.ParseFinal(block->text().substr(0, static_cast<std::size_t>(end - block->begin)), &parsed));
    rows += parser.total_num_rows();
  }
  return rows;
}

std::string shortened(const std::string& value) {
  constexpr std::size_t kMost = 60;
  return value.size() <= kMost ? value : value.substr(0, kMost) + "…";
}

bool is_real(const std::string& text) {
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

struct Misfit {
  std::int64_t row = 0;
  std::string value;
};

/// The first value of that column that the converter does not take.
std::optional<Misfit> find_misfit(const CsvFormat& format, const CsvBlock& block, int column,
                                  csv::Converter& converter) {
  std::string_view rest = block.text();
  for (std::int64_t row = 0; !rest.empty(); ++row) {
    csv::BlockParser parser(format.parse, format.schema->num_fields(), -1, 1);
    std::uint32_t parsed = 0;
    arrow_ok(parser.ParseFinal(rest, &parsed));
    if (parser.num_rows() == 0) return {};
    if (!converter.Convert(parser, column).ok()) {
      Misfit found{row, {}};
      arrow_ok(parser.VisitColumn(column, [&](const std::uint8_t* data, std::uint32_t size, bool, bool) {
        found.value.assign(reinterpret_cast<const char*>(data), size);
        return arrow::Status::OK();
      }));
      return found;
    }
    rest.remove_prefix(parsed);
  }
  return {};
}

}  // namespace

CsvFormat::CsvFormat(const CsvOptions& options)
    : parse(csv::ParseOptions::Defaults()), convert(csv::ConvertOptions::Defaults()), has_header(options.has_header) {
  parse.delimiter = options.delimiter;
  parse.quote_char = options.quote;
  parse.quoting = options.quote != '\0';
  convert.null_values = options.null_values;
  convert.strings_can_be_null = true;
  convert.quoted_strings_can_be_null = false;
}

void refuse_open_row(const CsvFormat& format, const CsvBlock& block, const fs::path& file) {
  const std::string_view row = block.text().substr(static_cast<std::size_t>(block.open_row - block.begin));
  throw FormatError(
      file.string(), fmt::format("row {}", rows_before(format, block.open_row, file) + 1),
      fmt::format("a quote is opened and never closed: {}", shortened(std::string(row.substr(0, row.find('\n'))))));
}

std::unique_ptr<csv::BlockParser> parse_block(const CsvFormat& format, const CsvBlock& block, int columns,
                                              const fs::path& file) {
  std::optional<csv::InvalidRow> bad;
  std::string bad_text;
  csv::ParseOptions options = format.parse;
  options.invalid_row_handler = [&](const csv::InvalidRow& row) {
    bad.emplace(row);
    bad_text = std::string(row.text);
    return csv::InvalidRowResult::Error;
  };
  if (block.open_row >= 0) refuse_open_row(format, block, file);
  auto parser = std::make_unique<csv::BlockParser>(options, columns, 0, kMostRows);
  std::uint32_t parsed = 0;
  const arrow::Status status =
      block.is_last ? parser->ParseFinal(block.text(), &parsed) : parser->Parse(block.text(), &parsed);
  if (bad) {
    const std::int64_t row = rows_before(format, block.begin, file) + bad->number + 1;
    throw FormatError(file.string(), fmt::format("row {}", row),
                      fmt::format("{} fields where there are {} columns: {}", bad->actual_columns,
                                  bad->expected_columns, shortened(bad_text)));
  }
  if (!status.ok()) throw FormatError(file.string(), fmt::format("byte {}", block.begin), status.message());
  if (parsed != block.bytes->size()) {
    throw FormatError(file.string(), fmt::format("byte {}", block.begin + parsed),
                      "the rest of its chunk is no row: is a quote not closed?");
  }
  return parser;
}

Batch read_chunk(const CsvFormat& format, const CsvBlock& block, const Columns& needed, const fs::path& file) {
  const auto parser = parse_block(format, block, format.schema->num_fields(), file);
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (int i = 0; i < format.schema->num_fields(); ++i) {
    const auto& field = format.schema->field(i);
    if (!needed.contains(field->name())) continue;
    const auto converter = arrow_ok(csv::Converter::Make(field->type(), format.convert));
    arrow::Result<std::shared_ptr<arrow::Array>> array = converter->Convert(*parser, i);
    if (!array.ok()) {
      const auto misfit = find_misfit(format, block, i, *converter);
      if (!misfit) arrow_ok(array.status(), file.string());
      throw FormatError(
          file.string(),
          fmt::format("row {}, column '{}'", rows_before(format, block.begin, file) + misfit->row + 1, field->name()),
          fmt::format("'{}' is no {}", shortened(misfit->value), field->type()->ToString()),
          fmt::format("the first rows look like {}; if others may come, say the column's type: {}={}",
                      field->type()->ToString(), field->name(), is_real(misfit->value) ? "float64" : "string"));
    }
    fields.push_back(field);
    arrays.push_back(*std::move(array));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), parser->num_rows(), std::move(arrays));
}

std::shared_ptr<arrow::DataType> infer_type(const CsvFormat& format, const csv::BlockParser& parser, int column) {
  for (const char* name : {"int64", "uint64", "float64", "bool", "date32", "timestamp[s]", "timestamp[ns]"}) {
    const auto type = type_named(name);
    const auto converter = arrow_ok(csv::Converter::Make(type, format.convert));
    const auto array = converter->Convert(parser, column);
    if (!array.ok()) continue;
    const bool is_all_null = (*array)->null_count() == (*array)->length();
    return is_all_null ? arrow::float64() : type;
  }
  return arrow::utf8();
}

}  // namespace hogpen::detail
