#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/finite.h"
#include "runtime/core/error.h"
#include "runtime/memory/safetensors.h"

namespace hogpen::detail {

using Bytes = std::span<const std::byte>;

/// The CRC-32 of zlib and gzip, as 8 hexadecimal digits.
[[nodiscard]] inline std::string crc_of(Bytes data) {
  return fmt::format("{:08x}", ::crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

/// A safetensors file to be written: the tensors of a snapshot without the fillers, where they lie in memory.
///
/// Sharing: immutable after it is made. Owns: the header; the snapshot must outlive it.
struct FileImage {
  std::string header;
  std::vector<Bytes> pieces;  ///< the header, then each tensor
  nlohmann::json record;      ///< what state.json says of the file

  /// Throws: FormatError when the snapshot is no safetensors file; UsageError naming a tensor that holds NaN or Inf.
  FileImage(Bytes snapshot, const std::string& name);
  FileImage(const FileImage&) = delete;
  FileImage& operator=(const FileImage&) = delete;
};

inline FileImage::FileImage(Bytes snapshot, const std::string& name) {
  const SafetensorsHeader from = parse_safetensors_header(snapshot, name);
  std::vector<TensorEntry> tensors;
  std::ranges::remove_copy_if(from.entries, std::back_inserter(tensors), is_padding);
  // Without fillers a small dtype could leave a larger one after it unaligned.
  std::ranges::stable_sort(tensors, std::greater<>{},
                           [](const auto& entry) { return c10::elementSize(entry.spec.dtype); });
  SafetensorsHeader to;
  to.metadata = from.metadata;
  pieces.emplace_back();
  nlohmann::json crcs = nlohmann::json::object();
  for (const TensorEntry& entry : tensors) {
    const Bytes data = snapshot.subspan(from.data_begin + entry.begin, entry.end - entry.begin);
    require(!has_nan_or_inf(data, entry.spec.dtype), "tensor {} of {} must not hold NaN or Inf in a checkpoint",
            entry.spec.name, name);
    to.entries.push_back({entry.spec, to.data_bytes, to.data_bytes + data.size()});
    to.data_bytes += data.size();
    crcs[entry.spec.name] = crc_of(data);
    pieces.push_back(data);
  }
  header = to.to_bytes(alignof(std::max_align_t));
  pieces[0] = std::as_bytes(std::span(header));
  record = {{"bytes", header.size() + to.data_bytes}, {"crc32", std::move(crcs)}};
}

}  // namespace hogpen::detail
