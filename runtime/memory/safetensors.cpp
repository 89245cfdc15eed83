#include "runtime/memory/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/json_cursor.h"
#include "runtime/memory/name_index.h"

namespace hogpen {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian, and tensors are views");

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kTensorAlignment = 64;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kPaddingPrefix = "__pad__";
constexpr std::size_t kMaxTensorBytes = std::size_t{1} << 48;  // more than an address space of 47 bits
constexpr std::size_t kExpectedEntryBytes = 80;                // of JSON a tensor, to reserve memory by

struct DtypeName {
  std::string_view name;
  c10::ScalarType dtype;
};
constexpr DtypeName kDtypeNames[] = {{"F32", c10::ScalarType::Float},
                                     {"F16", c10::ScalarType::Half},
                                     {"BF16", c10::ScalarType::BFloat16},
                                     {"F64", c10::ScalarType::Double},
                                     {"I64", c10::ScalarType::Long},
                                     {"I32", c10::ScalarType::Int},
                                     {"I16", c10::ScalarType::Short},
                                     {"I8", c10::ScalarType::Char},
                                     {"U64", c10::ScalarType::UInt64},
                                     {"U32", c10::ScalarType::UInt32},
                                     {"U16", c10::ScalarType::UInt16},
                                     {"U8", c10::ScalarType::Byte},
                                     {"BOOL", c10::ScalarType::Bool},
                                     {"F8_E5M2", c10::ScalarType::Float8_e5m2},
                                     {"F8_E4M3", c10::ScalarType::Float8_e4m3fn}};

std::string_view dtype_name(const TensorSpec& spec) {
  for (const DtypeName& known : kDtypeNames) {
    if (known.dtype == spec.dtype) return known.name;
  }
  throw UsageError(
      fmt::format("tensor {} has dtype {}, which safetensors cannot hold", spec.name, c10::toString(spec.dtype)));
}

// Text with JSON's quotes and escapes, or an object of texts.
std::string to_json(const nlohmann::json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw UsageError(fmt::format("names of tensors and metadata must be UTF-8: {}", error.what()));
  }
}

// The size in bytes of a tensor that anybody may have asked for.
std::size_t checked_size_bytes(const TensorSpec& spec) {
  std::size_t size = c10::elementSize(spec.dtype);
  for (const std::int64_t length : spec.shape) {
    require(length >= 0, "the shape of tensor {} must not have the negative size {}", spec.name, length);
    const bool overflows = __builtin_mul_overflow(size, std::max<std::int64_t>(length, 1), &size);
    require(!overflows && size <= kMaxTensorBytes, "tensor {} must be smaller than {} bytes", spec.name,
            kMaxTensorBytes);
  }
  return spec.size_bytes();
}

// What the header's JSON is made of; its length has been compared with the file before anything is read or allocated.
std::string_view header_text(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < kLengthBytes) {
    throw FormatError(name, "byte 0",
                      fmt::format("a safetensors file begins with {} bytes of header length, but this one has {} bytes",
                                  kLengthBytes, file.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes) {
    throw FormatError(name, "byte 0",
                      fmt::format("the header must not be longer than {} bytes, but its length says {}",
                                  kMaxSafetensorsHeaderBytes, length),
                      "is this a safetensors file?");
  }
  if (length > file.size() - kLengthBytes) {
    throw FormatError(name, "byte 0",
                      fmt::format("the header of {} bytes must end within the file of {}", length, file.size()),
                      "the file is cut off, or is no safetensors file");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) throw FormatError(name, "byte 8", "the header must begin with '{'");
  return text;
}

c10::ScalarType read_dtype(detail::JsonCursor& json) {
  const std::size_t byte = json.byte();
  const std::string_view name = json.read_string();
  const auto* known = std::ranges::find(kDtypeNames, name, &DtypeName::name);
  if (known == std::end(kDtypeNames)) json.fail_at(byte, fmt::format("the dtype {} is unknown", name));
  return known->dtype;
}

// Also the strides must fit, so that sizes of 0 count as 1.
std::vector<std::int64_t> read_shape(detail::JsonCursor& json) {
  std::vector<std::int64_t> shape;
  std::int64_t stride = 1;
  json.expect('[');
  if (json.accept(']')) return shape;
  shape.reserve(4);  // one allocation for most
  do {
    const std::size_t byte = json.byte();
    const std::uint64_t size = json.read_unsigned();
    if (__builtin_mul_overflow(stride, std::max<std::uint64_t>(size, 1), &stride)) {
      json.fail_at(byte, "the number of elements must fit 63 bits");
    }
    shape.push_back(static_cast<std::int64_t>(size));
  } while (json.accept(','));
  json.expect(']');
  return shape;
}

void check_size(detail::JsonCursor& json, std::size_t byte, const TensorEntry& entry) {
  const auto numel = static_cast<std::size_t>(entry.spec.numel());
  std::size_t size = 0;
  const bool overflows = __builtin_mul_overflow(numel, c10::elementSize(entry.spec.dtype), &size);
  if (overflows || entry.begin > entry.end || entry.end - entry.begin != size) {
    json.fail_at(byte, fmt::format("tensor {} of {} {} elements cannot lie in bytes [{}, {})", entry.spec.name, numel,
                                   dtype_name(entry.spec), entry.begin, entry.end));
  }
}

// {"dtype": "F32", "shape": [128, 784], "data_offsets": [0, 401408]}, the fields in any order.
TensorEntry read_entry(detail::JsonCursor& json, std::size_t byte, std::string name) {
  TensorEntry entry;
  entry.spec.name = std::move(name);
  bool has_dtype = false, has_shape = false, has_offsets = false;
  json.read_object([&](std::size_t field_byte, std::string_view field) {
    const auto claim = [&](bool& has) {
      if (std::exchange(has, true))
        json.fail_at(field_byte, fmt::format("tensor {} has a field twice", entry.spec.name));
    };
    if (field == "dtype") {
      claim(has_dtype);
      entry.spec.dtype = read_dtype(json);
    } else if (field == "shape") {
      claim(has_shape);
      entry.spec.shape = read_shape(json);
    } else if (field == "data_offsets") {
      claim(has_offsets);
      json.expect('[');
      entry.begin = json.read_unsigned();
      json.expect(',');
      entry.end = json.read_unsigned();
      json.expect(']');
    } else {
      json.fail_at(field_byte, fmt::format("tensor {} has an unknown field {}", entry.spec.name, field));
    }
  });
  if (!has_dtype || !has_shape || !has_offsets) {
    json.fail_at(byte, fmt::format("tensor {} must have dtype, shape and data_offsets", entry.spec.name));
  }
  check_size(json, byte, entry);
  return entry;
}

std::map<std::string, std::string> read_metadata(detail::JsonCursor& json) {
  std::map<std::string, std::string> metadata;
  json.read_object([&](std::size_t byte, std::string_view key) {
    const auto [place, is_new] = metadata.try_emplace(std::string(key));
    if (!is_new) json.fail_at(byte, fmt::format("{} has the key {} twice", kMetadataKey, key));
    place->second = json.read_string();
  });
  return metadata;
}

void check_names(const detail::JsonCursor& json, const SafetensorsHeader& header) {
  const auto duplicate = NameIndex(header.entries).duplicate();
  if (!duplicate) return;
  const TensorEntry& entry = header.entries[*duplicate];
  json.fail_at(header.data_begin + entry.begin, fmt::format("two tensors have the name {}", entry.spec.name));
}

// The tensors must cover the data section without holes and overlaps, so that no byte of a file escapes its checks.
void check_ranges(const detail::JsonCursor& json, const SafetensorsHeader& header) {
  std::size_t covered = 0;
  for (const TensorEntry& entry : header.entries) {
    if (entry.begin != covered) {
      json.fail_at(
          header.data_begin + std::min(covered, entry.begin),
          fmt::format("the data of tensor {} must begin where the one before ends, at byte {} of the data, not {}",
                      entry.spec.name, covered, entry.begin));
    }
    covered = entry.end;
  }
  if (covered != header.data_bytes) {
    json.fail_at(header.data_begin + std::min(covered, header.data_bytes),
                 fmt::format("the tensors have {} bytes of data, but the file has {}", covered, header.data_bytes));
  }
}

}  // namespace

std::int64_t TensorSpec::numel() const noexcept {
  std::int64_t numel = 1;
  for (const std::int64_t size : shape) numel *= size;
  return numel;
}

std::size_t TensorSpec::size_bytes() const noexcept {
  return static_cast<std::size_t>(numel()) * c10::elementSize(dtype);
}

std::string SafetensorsHeader::to_bytes(std::size_t alignment) const {
  std::vector<std::string> fields;
  if (!metadata.empty()) fields.push_back(fmt::format("\"{}\":{}", kMetadataKey, to_json(metadata)));
  for (const TensorEntry& entry : entries) {
    fields.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", to_json(entry.spec.name),
                                 dtype_name(entry.spec), fmt::join(entry.spec.shape, ","), entry.begin, entry.end));
  }
  std::string text = fmt::format("{{{}}}", fmt::join(fields, ","));
  const std::size_t unpadded = kLengthBytes + text.size();
  text.append((alignment - unpadded % alignment) % alignment, ' ');
  require(text.size() <= kMaxSafetensorsHeaderBytes, "the names of {} tensors and the metadata must fit {} bytes",
          entries.size(), kMaxSafetensorsHeaderBytes);
  const std::uint64_t length = text.size();
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes + text;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text = header_text(file, name);
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + text.size();
  header.data_bytes = file.size() - header.data_begin;
  header.entries.reserve(text.size() / kExpectedEntryBytes);
  detail::JsonCursor json(text, kLengthBytes, name);
  json.read_object([&](std::size_t byte, std::string_view key) {
    if (key == kMetadataKey) {
      header.metadata = read_metadata(json);
      return;
    }
    header.entries.push_back(read_entry(json, byte, std::string(key)));
  });
  if (!json.at_end()) json.fail("the header must hold nothing after its object");
  const auto place = [](const TensorEntry& entry) { return std::pair(entry.begin, entry.end); };
  // Writers keep the order; then sorting would only move every entry twice.
  if (!std::ranges::is_sorted(header.entries, {}, place)) std::ranges::stable_sort(header.entries, {}, place);
  check_names(json, header);
  check_ranges(json, header);
  return header;
}

SafetensorsHeader lay_out(std::span<const TensorSpec> specs, std::map<std::string, std::string> metadata) {
  std::unordered_set<std::string_view> names;
  for (const TensorSpec& spec : specs) {
    require(names.insert(spec.name).second, "tensor names must differ, but {} is given twice", spec.name);
    require(spec.name != kMetadataKey && !spec.name.starts_with(kPaddingPrefix), "a tensor must not be named {}",
            spec.name);
    static_cast<void>(dtype_name(spec));  // throws for one that the format lacks
    static_cast<void>(checked_size_bytes(spec));
  }
  SafetensorsHeader header;
  header.metadata = std::move(metadata);
  const auto add = [&header](const TensorSpec& spec) {
    const std::size_t begin = header.data_bytes;
    header.data_bytes += spec.size_bytes();
    header.entries.push_back({spec, begin, header.data_bytes});
  };
  const auto needs_no_padding = [](const TensorSpec& spec) { return spec.size_bytes() % kTensorAlignment == 0; };
  for (const TensorSpec& spec : specs) {
    if (needs_no_padding(spec)) add(spec);
  }
  std::size_t fillers = 0;
  for (const TensorSpec& spec : specs) {
    if (needs_no_padding(spec)) continue;
    if (const std::size_t over = header.data_bytes % kTensorAlignment; over != 0) {
      add({fmt::format("{}.{}", kPaddingPrefix, fillers++),
           c10::ScalarType::Byte,
           {static_cast<std::int64_t>(kTensorAlignment - over)}});
    }
    add(spec);
  }
  return header;
}

bool is_padding(const TensorEntry& entry) noexcept {
  return entry.spec.name.starts_with(kPaddingPrefix);
}

}  // namespace hogpen
