#include "runtime/memory/npy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <string_view>

#include "runtime/core/error.h"
#include "runtime/core/text.h"

namespace hogpen {
namespace {

static_assert(std::endian::native == std::endian::little, "NPY files are read as they lie in memory");

constexpr std::string_view kNpyMagic = "\x93NUMPY";
constexpr std::size_t kLengthBegin = kNpyMagic.size() + 2;  // behind the two bytes of the version

struct KnownDtype {
  std::string_view code;
  c10::ScalarType dtype;
};
constexpr KnownDtype kNpyDtypes[] = {
    {"f4", c10::ScalarType::Float}, {"f8", c10::ScalarType::Double}, {"f2", c10::ScalarType::Half},
    {"i8", c10::ScalarType::Long},  {"i4", c10::ScalarType::Int},    {"i2", c10::ScalarType::Short},
    {"i1", c10::ScalarType::Char},  {"u1", c10::ScalarType::Byte},   {"b1", c10::ScalarType::Bool},
};

/// Reads the header's text, a Python dictionary of three keys, and knows at each token the byte of the file.
class HeaderCursor {
 public:
  HeaderCursor(std::string_view text, std::size_t offset, const std::string& file)
      : text_(text), offset_(offset), file_(file) {}

  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
    throw FormatError(file_, fmt::format("byte {}", offset_ + at_), message, hint);
  }

  bool accept(std::string_view token) {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  [[nodiscard]] bool at_end() {
    (void)accept("");  // blanks
    return at_ == text_.size();
  }

  void expect(std::string_view token) {
    if (!accept(token))
      fail(fmt::format("the header must have '{}' here, but has '{}'", token, shown(text_.substr(at_, 10))));
  }

  std::string_view read_string() {
    const char quote = accept("\"") ? '"' : '\'';
    if (quote == '\'') expect("'");
    const std::size_t begin = at_;
    at_ = text_.find(quote, begin);
    if (at_ == std::string_view::npos) {
      at_ = begin;
      fail("a string of the header must end");
    }
    return text_.substr(begin, at_++ - begin);
  }

  std::int64_t read_size() {
    (void)accept("");  // blanks
    std::int64_t size = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), size);
    const bool has_zeros = end - text_.data() > static_cast<std::ptrdiff_t>(at_) + 1 && text_[at_] == '0';
    if (error != std::errc() || size < 0 || has_zeros) {
      fail(fmt::format("a size must be a whole number of 63 bits, but is '{}'", shown(text_.substr(at_, 20))));
    }
    at_ = static_cast<std::size_t>(end - text_.data());
    (void)accept("L");  // Python 2 wrote long numbers so.
    return size;
  }

 private:
  std::string_view text_;
  std::size_t offset_;
  const std::string& file_;
  std::size_t at_ = 0;
};

c10::ScalarType read_dtype(HeaderCursor& cursor, std::string& descr) {
  const std::string hint = "convert it with NumPy: x.astype(\"float32\")";
  if (cursor.accept("[")) cursor.fail("a structured dtype cannot be read", "store one field: x[\"NAME\"]");
  HeaderCursor before = cursor;
  descr = cursor.read_string();
  if (descr.starts_with('>')) before.fail(fmt::format("the big-endian dtype '{}' cannot be read", shown(descr)), hint);
  const bool has_order = descr.find_first_of("<=|") == 0;
  const auto* known = std::ranges::find(kNpyDtypes, std::string_view(descr).substr(has_order), &KnownDtype::code);
  if (known == std::end(kNpyDtypes)) before.fail(fmt::format("the dtype '{}' cannot be read", shown(descr)), hint);
  return known->dtype;
}

std::vector<std::int64_t> read_shape(HeaderCursor& cursor) {
  constexpr std::size_t kMostDimensions = 64;  // as NumPy
  std::vector<std::int64_t> shape;
  cursor.expect("(");
  while (!cursor.accept(")")) {
    if (shape.size() == kMostDimensions) cursor.fail(fmt::format("a shape has at most {} sizes", kMostDimensions));
    shape.push_back(cursor.read_size());
    if (cursor.accept(",")) continue;
    cursor.expect(shape.size() == 1 ? "," : ")");  // Python's (3) is no tuple.
    break;
  }
  return shape;
}

// What the dictionary is made of; its length has been compared with the file before anything is read or allocated.
std::string_view npy_header(std::span<const std::byte> file, const std::string& name) {
  if (!is_npy(file) || file.size() < kLengthBegin) {
    throw FormatError(name, "byte 0", "an NPY file begins with \\x93NUMPY and a version, but this one does not",
                      "is this an NPY file?");
  }
  const auto major = std::to_integer<int>(file[kNpyMagic.size()]);
  const auto minor = std::to_integer<int>(file[kNpyMagic.size() + 1]);
  if (major < 1 || major > 3 || minor != 0) {
    throw FormatError(name, fmt::format("byte {}", kNpyMagic.size()),
                      fmt::format("the version must be 1.0, 2.0 or 3.0, but is {}.{}", major, minor));
  }
  const std::size_t length_bytes = major == 1 ? 2 : 4;
  const std::size_t begin = kLengthBegin + length_bytes;
  std::uint32_t length = 0;
  if (file.size() >= begin) std::memcpy(&length, file.data() + kLengthBegin, length_bytes);
  if (file.size() < begin || length > file.size() - begin) {
    throw FormatError(name, fmt::format("byte {}", kLengthBegin),
                      fmt::format("the header of {} bytes must end within the file of {}", length, file.size()),
                      "the file is cut off");
  }
  return as_text(file).substr(begin, length);
}

void check_size(const NpyHeader& header, std::size_t file_bytes, const std::string& name) {
  std::size_t size = c10::elementSize(header.dtype);
  bool overflows = false;
  const bool is_empty = std::ranges::find(header.shape, 0) != header.shape.end();
  // Also the strides must fit, so that sizes of 0 count as 1.
  for (const std::int64_t length : header.shape) {
    overflows |= __builtin_mul_overflow(size, std::max<std::int64_t>(length, 1), &size);
  }
  overflows |= size > static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
  if (is_empty && !overflows) size = 0;
  const std::size_t there = file_bytes - header.data_begin;
  if (!overflows && size == there) return;
  throw FormatError(
      name, fmt::format("byte {}", header.data_begin),
      fmt::format("'{}' of shape ({}) must have {} bytes of data, but the file has {}", shown(header.descr),
                  fmt::join(header.shape, ", "), overflows ? "more than 2^63" : std::to_string(size), there),
      !overflows && size < there ? "more was written behind the array: store one array a file"
                                 : "the file is cut off, or was not written as a whole");
}

}  // namespace

std::int64_t NpyHeader::numel() const noexcept {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

bool is_npy(std::span<const std::byte> file) noexcept {
  return as_text(file).starts_with(kNpyMagic);
}

NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text = npy_header(file, name);
  const auto text_begin = static_cast<std::size_t>(text.data() - as_text(file).data());
  NpyHeader header;
  header.data_begin = text_begin + text.size();
  HeaderCursor cursor(text, text_begin, name);
  std::vector<std::string_view> found;
  cursor.expect("{");
  while (!cursor.accept("}")) {
    const std::string_view key = cursor.read_string();
    if (std::ranges::find(found, key) != found.end())
      cursor.fail(fmt::format("the key '{}' is there twice", shown(key)));
    found.push_back(key);
    cursor.expect(":");
    if (key == "descr") {
      header.dtype = read_dtype(cursor, header.descr);
    } else if (key == "shape") {
      header.shape = read_shape(cursor);
    } else if (key == "fortran_order") {
      header.fortran_order = cursor.accept("True");
      if (!header.fortran_order) cursor.expect("False");
    } else {
      cursor.fail(fmt::format("the key '{}' is none of descr, fortran_order, shape", shown(key)));
    }
    if (!cursor.accept(",")) {
      cursor.expect("}");
      break;
    }
  }
  if (!cursor.at_end()) cursor.fail("the header must hold nothing after its dictionary");
  if (found.size() != 3) cursor.fail("the header must have descr, fortran_order and shape");
  check_size(header, file.size(), name);
  return header;
}

}  // namespace hogpen
