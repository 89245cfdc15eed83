#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/cli.h"
#include "apps/map/csv_reader.h"
#include "apps/map/formats.h"
#include "apps/text.h"
#include "runtime/core/error.h"
#include "runtime/core/text.h"
#include "runtime/memory/npy.h"

namespace hogpen {
namespace {

constexpr std::size_t kTextPieceBytes = std::size_t{16} << 20;  // of text
constexpr std::size_t kPieceNumbers = std::size_t{1} << 20;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

void check_is_text(const Source& in) {
  const std::string_view text = as_text(in.bytes);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    throw FormatError(in.name, "byte 0", "this is UTF-16, and CSV must be UTF-8 or ASCII",
                      "convert it: iconv -f UTF-16 -t UTF-8");
  }
  const std::size_t zero = text.substr(0, 4096).find('\0');
  if (is_npy(in.bytes) || zero != std::string_view::npos) {
    throw FormatError(in.name, fmt::format("byte {}", is_npy(in.bytes) ? 0 : zero), "this is no CSV, which is text",
                      is_npy(in.bytes) ? "it is an NPY file: --format npy" : "");
  }
}

/// Text on its way to a file.
class Writer {
 public:
  explicit Writer(ReplacementFile& file) : file_(file) {}
  void append(std::string_view text) {
    if (buffer_.size() + text.size() > kBufferBytes) flush();
    if (text.size() > kBufferBytes) return file_.append(text);
    buffer_ += text;
  }
  void append(double number) {
    // The NaN of x86 has a minus sign, which says nothing.
    if (std::isnan(number)) return append("nan");
    char text[32];
    append({text, fmt::format_to(text, "{}", number)});
  }
  void flush() {
    file_.append(buffer_);
    buffer_.clear();
  }

 private:
  ReplacementFile& file_;
  std::string buffer_;
};

class CsvMap {
 public:
  CsvMap(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper)
      : in_(in),
        options_(options),
        text_(as_text(in.bytes)),
        reader_(text_, options.delimiter, in.name),
        writer_(out),
        mapper_(mapper) {}

  void run();

 private:
  [[nodiscard]] std::size_t find_column(const std::string& column) const;
  [[nodiscard]] std::string column_name(std::size_t column) const;
  void read_first(const std::vector<std::string_view>& fields);
  void read_row(const std::vector<std::string_view>& fields);
  void read_field(std::size_t column, std::string_view field);
  void write_piece();
  [[noreturn]] void fail_at(const char* place, const std::string& message, const std::string& hint) const;

  const Source& in_;
  const MapRequest& options_;
  std::string_view text_;
  CsvReader reader_;
  Writer writer_;
  Mapper& mapper_;
  std::vector<std::string> names_;  ///< of the columns; empty without a header
  std::size_t columns_ = 0;
  std::size_t first_ = 0;  ///< of the columns that are mapped
  std::size_t end_ = 0;
  std::uint64_t row_ = 0;
  std::vector<double> numbers_;
  std::vector<std::string_view> places_;  ///< of the numbers, in the text
  std::size_t written_ = 0;               ///< of the text
};

void CsvMap::fail_at(const char* place, const std::string& message, const std::string& hint) const {
  throw FormatError(in_.name, reader_.line_of(place), message, hint);
}

std::string CsvMap::column_name(std::size_t column) const {
  return names_.empty() ? std::to_string(column) : fmt::format("'{}'", shown(names_[column]));
}

// A name wins over an index: a column may be called 2024.
std::size_t CsvMap::find_column(const std::string& column) const {
  const auto count = std::ranges::count(names_, column);
  require(count < 2, "{} has {} columns '{}': say which by its index, counted from 0", in_.name, count, column);
  if (count == 1) return static_cast<std::size_t>(std::ranges::find(names_, column) - names_.begin());
  const bool is_index = column.find_first_not_of("-0123456789") == std::string::npos && !column.empty();
  if (is_index || names_.empty()) {
    return static_cast<std::size_t>(column_index(column, static_cast<std::int64_t>(columns_), in_.name));
  }
  const std::string meant = suggestion(column, names_);
  throw UsageError(fmt::format("{} has no column '{}'", in_.name, column),
                   meant.empty() ? fmt::format("it has {}", listed(names_)) : meant);
}

void CsvMap::read_first(const std::vector<std::string_view>& fields) {
  const auto has_cr = [](std::string_view field) {
    return !field.starts_with('"') && field.find('\r') != std::string_view::npos;
  };
  if (std::ranges::any_of(fields, has_cr)) {
    fail_at(fields[0].data(), "lines must end in LF or CRLF, but here CR stands alone", "convert it: tr '\\r' '\\n'");
  }
  columns_ = fields.size();
  if (options_.has_header) {
    for (const std::string_view field : fields) names_.push_back(unquoted(field));
    const auto is_number = [](std::string_view field) { return to_number(bare(field)).has_value(); };
    if (std::ranges::all_of(fields, is_number)) {
      mapper_.say(fmt::format("the header of {} holds only numbers; if it is data: --no-header", in_.name));
    }
  }
  end_ = columns_;
  if (!options_.column) return;
  first_ = find_column(*options_.column);
  end_ = first_ + 1;
}

void CsvMap::read_field(std::size_t column, std::string_view field) {
  const std::string_view text = bare(field);
  if (text.empty()) return;  // A value that is missing stays so.
  const std::optional<double> number = to_number(text);
  if (!number) {
    const bool is_other_delimiter = columns_ == 1 && text.find_first_of(";\t|,") != std::string_view::npos;
    fail_at(text.data(), fmt::format("row {}, column {}: '{}' is no number", row_, column_name(column), shown(text)),
            is_other_delimiter ? "are the fields divided by another character? --delimiter"
            : !options_.column ? "choose a column that holds numbers: --column"
                               : "correct it, or leave the field empty where there is no value");
  }
  numbers_.push_back(*number);
  places_.push_back(text);
}

void CsvMap::read_row(const std::vector<std::string_view>& fields) {
  if (fields.size() == 1 && fields[0].empty()) return;  // an empty line
  ++row_;
  if (fields.size() != columns_) {
    fail_at(fields[0].data(),
            fmt::format("row {} must have {} field{} as the first line, but has {}", row_, columns_,
                        plural(static_cast<std::int64_t>(columns_)), fields.size()),
            columns_ == 1 ? "is the first line the header?" : "quote a field that holds the delimiter");
  }
  for (std::size_t column = first_; column < end_; ++column) read_field(column, fields[column]);
}

void CsvMap::write_piece() {
  const at::Tensor numbers = at::from_blob(numbers_.data(), {static_cast<std::int64_t>(numbers_.size())}, at::kDouble);
  mapper_.apply(numbers, numbers);
  const std::size_t begin = written_;
  for (std::size_t i = 0; i < numbers_.size(); ++i) {
    const auto place = static_cast<std::size_t>(places_[i].data() - text_.data());
    writer_.append(text_.substr(written_, place - written_));
    writer_.append(numbers_[i]);
    written_ = place + places_[i].size();
  }
  writer_.append(text_.substr(written_, reader_.position() - written_));
  written_ = reader_.position();
  numbers_.clear();
  places_.clear();
  mapper_.advance(written_ - begin);
}

void CsvMap::run() {
  std::vector<std::string_view> fields;
  bool is_first = true;
  while (reader_.next(fields)) {
    const bool is_header = is_first && options_.has_header;
    if (std::exchange(is_first, false)) read_first(fields);
    if (!is_header) read_row(fields);
    if (numbers_.size() >= kPieceNumbers || reader_.position() - written_ >= kTextPieceBytes) write_piece();
  }
  require(!is_first || !options_.column, "{} is empty: it has no column '{}'", in_.name, options_.column.value_or(""));
  write_piece();
  writer_.flush();
}

}  // namespace

void map_csv(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper) {
  check_is_text(in);
  CsvMap(in, options, out, mapper).run();
}

}  // namespace hogpen
