#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hogpen {

/// Finds the fields of a CSV text and leaves them where they lie. Fields in quotes may hold delimiters, line ends and
/// doubled quotes. Lines end in LF or CRLF.
///
/// Sharing: one thread. Owns: nothing; the text must outlive it.
/// Source: RFC 4180.
class CsvReader {
 public:
  /// A byte order mark at the beginning is stepped over. `name` is for errors.
  CsvReader(std::string_view text, char delimiter, std::string name);

  /// The fields of the next record, as they are written, quotes included; false at the end. An empty line is one empty
  /// field.
  ///
  /// Throws: FormatError with the line for a quote that is never closed, for anything but blanks between a closing
  /// quote and the end of its field, and for more than 2^20 fields.
  bool next(std::vector<std::string_view>& fields);
  /// How much of the text has been read.
  [[nodiscard]] std::size_t position() const noexcept { return at_; }
  /// "line 3" for a place in the text. Slow: for errors.
  [[nodiscard]] std::string line_of(const char* place) const;

 private:
  void skip_quoted();

  std::string_view text_;
  char delimiter_;
  std::string name_;
  std::size_t at_ = 0;
};

/// A field without the blanks around it, without its quotes and without the blanks in them. Doubled quotes stay.
[[nodiscard]] std::string_view bare(std::string_view field) noexcept;
/// What a field's author meant: without the blanks around it and its quotes, doubled ones being one.
[[nodiscard]] std::string unquoted(std::string_view field);
/// A number as `bare` returns it. Also "inf" and "nan", and with a plus sign; too large is infinite, too small 0.
[[nodiscard]] std::optional<double> to_number(std::string_view text);

}  // namespace hogpen
