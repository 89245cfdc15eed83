#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "apps/cli.h"
#include "apps/map/formats.h"
#include "apps/text.h"
#include "kernels/transform.h"
#include "runtime/core/error.h"
#include "runtime/core/text.h"
#include "runtime/memory/npy.h"
#include "runtime/memory/safetensors.h"

namespace hogpen {
namespace {

constexpr std::size_t kArrayPieceBytes = std::size_t{32} << 20;

/// Numbers that are mapped: bytes [begin, end) of a file, or one column of the rows that lie there.
struct Part {
  std::size_t begin = 0;
  std::size_t end = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::int64_t columns = 1;
  std::int64_t column = 0;
};

void copy(const Source& in, std::size_t begin, std::size_t end, std::span<std::byte> out, Mapper& mapper) {
  while (begin < end) {
    const std::size_t size = std::min(end - begin, kArrayPieceBytes);
    std::memcpy(out.data() + begin, in.bytes.data() + begin, size);
    mapper.advance(size);
    begin += size;
  }
}

void transform(const Source& in, const Part& part, std::span<std::byte> out, Mapper& mapper) {
  const std::size_t item_bytes = c10::elementSize(part.dtype);
  const std::size_t row_bytes = item_bytes * static_cast<std::size_t>(part.columns);
  const std::size_t piece_bytes = std::max(kArrayPieceBytes / row_bytes, std::size_t{1}) * row_bytes;
  const std::size_t column_begin = item_bytes * static_cast<std::size_t>(part.column);
  for (std::size_t begin = part.begin; begin < part.end; begin += piece_bytes) {
    const std::size_t size = std::min(part.end - begin, piece_bytes);
    if (part.columns > 1) std::memcpy(out.data() + begin, in.bytes.data() + begin, size);
    const auto column_of = [&](const std::byte* rows) {
      return at::from_blob(const_cast<std::byte*>(rows) + column_begin, {static_cast<std::int64_t>(size / row_bytes)},
                           {part.columns}, part.dtype);
    };
    mapper.apply(column_of(in.bytes.data() + begin), column_of(out.data() + begin));
    mapper.advance(size);
  }
}

// What lies in no part is copied.
void map_parts(const Source& in, const std::vector<Part>& parts, ReplacementFile& file, Mapper& mapper) {
  const std::span<std::byte> out = file.map(in.bytes.size());
  std::size_t done = 0;
  for (const Part& part : parts) {
    copy(in, done, part.begin, out, mapper);
    transform(in, part, out, mapper);
    done = part.end;
  }
  copy(in, done, in.bytes.size(), out, mapper);
}

// The column that the options name, of an array whose last index runs fastest.
void select_column(Part& part, const MapRequest& options, const std::vector<std::int64_t>& shape,
                   const std::string& what) {
  if (!options.column) return;
  if (shape.size() != 2) {
    throw UsageError(fmt::format("--column needs an array of 2 dimensions, but {} has {}", what, shape.size()),
                     what.starts_with("tensor ") ? "choose tensors that have 2: --tensor" : "");
  }
  part.column = column_index(*options.column, shape[1], what);
  part.columns = shape[1];
}

std::vector<TensorEntry> chosen_tensors(const Source& in, const MapRequest& options, const SafetensorsHeader& header) {
  std::vector<std::string> names;
  for (const TensorEntry& entry : header.entries) {
    if (!is_padding(entry)) names.push_back(entry.spec.name);
  }
  for (const std::string& name : options.tensors) {
    if (std::ranges::find(names, name) != names.end()) continue;
    const std::string meant = suggestion(name, names);
    throw UsageError(fmt::format("{} has no tensor '{}'", in.name, name),
                     meant.empty() ? fmt::format("it has {}", listed(names)) : meant);
  }
  std::vector<TensorEntry> chosen;
  for (const TensorEntry& entry : header.entries) {
    const bool is_known = kernels::is_transformable(entry.spec.dtype);
    const bool is_named = std::ranges::find(options.tensors, entry.spec.name) != options.tensors.end();
    if (is_named && !is_known) {
      throw UsageError(
          fmt::format("tensor '{}' of {} has dtype {}, and map is for float16, bfloat16, float32 and float64",
                      shown(entry.spec.name), in.name, c10::toString(entry.spec.dtype)),
          "convert it with PyTorch: x.float()");
    }
    if (options.tensors.empty() ? is_known : is_named) chosen.push_back(entry);
  }
  return chosen;
}

}  // namespace

std::int64_t column_index(const std::string& text, std::int64_t columns, const std::string& file) {
  std::int64_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  require(error == std::errc() && end == text.data() + text.size(), "{} has no column '{}'; columns are counted from 0",
          file, text);
  require(index >= -columns && index < columns, "{} has no column {}: it has {} column{}", file, index, columns,
          plural(columns));
  return index < 0 ? index + columns : index;
}

void map_npy(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper) {
  const NpyHeader header = parse_npy_header(in.bytes, in.name);
  if (!kernels::is_transformable(header.dtype)) {
    throw UsageError(
        fmt::format("{} has dtype '{}', and map is for float16, float32 and float64", in.name, shown(header.descr)),
        "convert it with NumPy: x.astype(\"float32\")");
  }
  Part part = {.begin = header.data_begin, .end = in.bytes.size(), .dtype = header.dtype};
  select_column(part, options, header.shape, in.name);
  if (options.column && header.fortran_order) {  // Then a column lies together.
    const std::size_t column_bytes = c10::elementSize(header.dtype) * static_cast<std::size_t>(header.shape[0]);
    part.begin += static_cast<std::size_t>(part.column) * column_bytes;
    part = {.begin = part.begin, .end = part.begin + column_bytes, .dtype = header.dtype};
  }
  map_parts(in, {part}, out, mapper);
}

void map_safetensors(const Source& in, const MapRequest& options, ReplacementFile& out, Mapper& mapper) {
  const SafetensorsHeader header = parse_safetensors_header(in.bytes, in.name);
  std::vector<Part> parts;
  const std::vector<TensorEntry> chosen = chosen_tensors(in, options, header);
  for (const TensorEntry& entry : chosen) {
    parts.push_back(
        {.begin = header.data_begin + entry.begin, .end = header.data_begin + entry.end, .dtype = entry.spec.dtype});
    select_column(parts.back(), options, entry.spec.shape, fmt::format("tensor '{}'", shown(entry.spec.name)));
  }
  if (parts.empty()) {
    throw UsageError(fmt::format("{} has no tensor of dtype float16, bfloat16, float32 or float64", in.name),
                     "convert one with PyTorch: x.float()");
  }
  const auto padding = std::ranges::count_if(header.entries, is_padding);
  const auto left = static_cast<std::int64_t>(header.entries.size() - parts.size()) - padding;
  if (left > 0 && options.tensors.empty()) {
    mapper.say(fmt::format("{} tensor{} of {} stay{} as {}", left, plural(left),
                           left == 1 ? "another dtype" : "other dtypes", left == 1 ? "s" : "",
                           left == 1 ? "it is" : "they are"));
  }
  map_parts(in, parts, out, mapper);
}

}  // namespace hogpen
