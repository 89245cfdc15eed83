#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "runtime/core/error.h"

namespace hogpen::detail {

/// Reads JSON of a known schema token by token, and knows at each the byte of the file it stands at.
///
/// A reader of general JSON builds a tree, which costs several times the memory and time, and forgets the places.
///
/// Sharing: not thread-safe. Owns: nothing; the text must outlive it.
class JsonCursor {
 public:
  /// `offset`: where `text` begins in `file`, for errors.
  JsonCursor(std::string_view text, std::size_t offset, const std::string& file)
      : text_(text), offset_(offset), file_(file) {}

  /// The byte of the file that holds the next token.
  [[nodiscard]] std::size_t byte() {
    skip_blanks();
    return offset_ + at_;
  }

  [[noreturn, gnu::cold]] void fail(const std::string& message) { fail_at(byte(), message); }
  [[noreturn, gnu::cold]] void fail_at(std::size_t byte, const std::string& message) const {
    throw FormatError(file_, fmt::format("byte {}", byte), message);
  }

  [[nodiscard]] bool at_end() {
    skip_blanks();
    return at_ == text_.size();
  }

  /// Steps over `token` if it is next.
  bool accept(char token) {
    if (!is_next(token)) {
      skip_blanks();
      if (!is_next(token)) return false;
    }
    ++at_;
    return true;
  }

  void expect(char token) {
    if (!accept(token)) [[unlikely]]
      fail_expecting(token);
  }

  /// A string. The view is valid until the next call.
  std::string_view read_string() {
    expect('"');
    const std::size_t begin = at_;
    while (at_ < text_.size() && kIsPlain[static_cast<unsigned char>(text_[at_])]) ++at_;
    if (accept_quote()) return text_.substr(begin, at_ - 1 - begin);
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (!accept_quote()) fail_at(offset_ + begin - 1, "a string of the header must end within it");
    return decode(begin - 1);
  }

  /// A number without sign, fraction or exponent.
  std::uint64_t read_unsigned() {
    const std::size_t where = byte();
    const std::size_t begin = at_;
    std::uint64_t number = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto digit = static_cast<unsigned>(text_[at_] - '0');
      if (__builtin_mul_overflow(number, 10U, &number) || __builtin_add_overflow(number, digit, &number)) {
        fail_at(where, "a number of the header must fit 64 bits");
      }
    }
    if (at_ == begin) fail_at(where, "the header must have an unsigned integer here");
    if (text_[begin] == '0' && at_ - begin > 1) fail_at(where, "a number of the header must not begin with 0");
    return number;
  }

  /// "{" name ":" value "," … "}": calls `read_value(byte, name)` after each ":".
  template <class ReadValue>
  void read_object(ReadValue&& read_value) {
    expect('{');
    if (accept('}')) return;
    do {
      const std::size_t where = byte();
      const std::string_view name = read_string();
      expect(':');
      read_value(where, name);
    } while (accept(','));
    expect('}');
  }

 private:
  // Characters that a string holds as they are.
  static constexpr std::array<bool, 256> kIsPlain = [] {
    std::array<bool, 256> is_plain{};
    for (std::size_t c = 0x20; c < 0x80; ++c) is_plain[c] = c != '"' && c != '\\';
    return is_plain;
  }();

  [[nodiscard]] bool is_next(char c) const { return at_ < text_.size() && text_[at_] == c; }

  // Apart, so that the compiler inlines what is called for every token.
  [[noreturn, gnu::cold]] void fail_expecting(char token) {
    fail(fmt::format("the header must have '{}' here", token));
  }

  bool accept_quote() {
    if (!is_next('"')) return false;
    ++at_;
    return true;
  }

  static bool is_blank(char c) { return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t'); }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  // Escapes and UTF-8 are rare in names of tensors: leave them to the library.
  std::string_view decode(std::size_t begin) {
    try {
      decoded_ = nlohmann::json::parse(text_.substr(begin, at_ - begin)).get<std::string>();
    } catch (const nlohmann::json::exception&) {
      fail_at(offset_ + begin, "a string of the header must be valid JSON in UTF-8");
    }
    return decoded_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t offset_;
  const std::string& file_;
  std::string decoded_;
};

}  // namespace hogpen::detail
