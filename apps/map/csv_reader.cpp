#include "apps/map/csv_reader.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/text.h"

namespace hogpen {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

constexpr std::size_t kMostFields = std::size_t{1} << 20;  // of a line, so that a file without lines costs no memory

bool is_blank(char character) noexcept {
  return character == ' ' || character == '\t';
}

std::string_view without_blanks(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

bool is_quoted(std::string_view field) noexcept {
  return field.size() >= 2 && field.front() == '"' && field.back() == '"';
}

}  // namespace

CsvReader::CsvReader(std::string_view text, char delimiter, std::string name)
    : text_(text),
      delimiter_(delimiter),
      name_(std::move(name)),
      at_(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0) {}

bool CsvReader::next(std::vector<std::string_view>& fields) {
  fields.clear();
  if (at_ == text_.size()) return false;
  for (;;) {
    const std::size_t begin = at_;
    if (fields.size() == kMostFields) {
      throw FormatError(name_, line_of(text_.data() + begin), fmt::format("a line has at most {} fields", kMostFields),
                        "do all lines end in LF or CRLF?");
    }
    if (at_ < text_.size() && text_[at_] == '"') skip_quoted();
    while (at_ < text_.size() && text_[at_] != delimiter_ && text_[at_] != '\n') ++at_;
    const bool is_last = at_ == text_.size() || text_[at_] == '\n';
    std::size_t end = at_;
    if (is_last && end > begin && text_[end - 1] == '\r') --end;
    fields.push_back(text_.substr(begin, end - begin));
    at_ = std::min(at_ + 1, text_.size());
    if (is_last) return true;
  }
}

void CsvReader::skip_quoted() {
  const std::size_t begin = at_;
  // The quotes of a doubled one close the field and open it again.
  while (at_ < text_.size() && text_[at_] == '"') {
    at_ = text_.find('"', at_ + 1);
    if (at_ == std::string_view::npos) {
      throw FormatError(name_, line_of(text_.data() + begin), "a quote that opens a field is never closed",
                        "close it, or double a quote that is meant");
    }
    ++at_;
  }
  while (at_ < text_.size() && is_blank(text_[at_]) && text_[at_] != delimiter_) ++at_;
  const std::string_view rest = text_.substr(at_);
  const bool is_end = rest.empty() || rest == "\r" || rest[0] == delimiter_ || rest[0] == '\n';
  if (is_end || rest.starts_with("\r\n")) return;
  throw FormatError(name_, line_of(text_.data() + at_),
                    fmt::format("there is text after a closing quote: '{}'", shown(rest.substr(0, rest.find('\n')))),
                    "double a quote that is meant; lines end in LF or CRLF");
}

std::string CsvReader::line_of(const char* place) const {
  return fmt::format("line {}", 1 + std::count(text_.data(), place, '\n'));
}

std::string_view bare(std::string_view field) noexcept {
  field = without_blanks(field);
  return is_quoted(field) ? without_blanks(field.substr(1, field.size() - 2)) : field;
}

std::string unquoted(std::string_view field) {
  field = without_blanks(field);
  if (!is_quoted(field)) return std::string(field);
  std::string text(field.substr(1, field.size() - 2));
  for (std::size_t at = 0; (at = text.find("\"\"", at)) != std::string::npos; ++at) text.erase(at, 1);
  return text;
}

std::optional<double> to_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.ends_with(')')) return std::nullopt;  // "nan(…)"
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) return std::nullopt;
  // from_chars does not tell too large from too small.
  return error == std::errc() ? number : std::strtod(std::string(text).c_str(), nullptr);
}

}  // namespace hogpen
