#include "models/checkpoint_record.h"

#include <fmt/ranges.h>

#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "models/checkpoint.h"
#include "models/checkpoint_image.h"
#include "runtime/core/error.h"
#include "runtime/memory/mapped_file.h"
#include "runtime/memory/name_index.h"
#include "runtime/memory/safetensors.h"

namespace hogpen {

namespace fs = std::filesystem;
using nlohmann::json;

namespace detail {

json read_json(const fs::path& file) {
  try {
    return json::parse(read_file(file));
  } catch (const json::parse_error& error) {
    throw FormatError(file.string(), fmt::format("byte {}", error.byte), "is not JSON");
  }
}

std::map<std::string, FileRecord> read_file_records(const json& state, const fs::path& state_file) {
  try {
    std::map<std::string, FileRecord> records;
    for (const auto& [name, record] : state.at(kFilesKey).items()) {
      records[name] = {record.at("bytes").get<std::uintmax_t>(), record.at("crc32").get<decltype(FileRecord::crcs)>()};
    }
    if (!records.contains(kModelFile)) throw FormatError(state_file.string(), kFilesKey, "must name the model's file");
    return records;
  } catch (const json::exception& error) {
    throw FormatError(state_file.string(), kFilesKey, error.what());
  }
}

}  // namespace detail

namespace {

using detail::FileRecord;
using detail::kFilesKey;
using detail::kModelFile;
using detail::kStateFile;

void verify_file(const fs::path& file, const FileRecord& expected) {
  const MappedFile mapped(file);
  const SafetensorsHeader header = parse_safetensors_header(mapped.bytes(), file.string());
  const NameIndex names(header.entries);
  for (const auto& [name, crc] : expected.crcs) {
    const std::string where = "tensor " + name;
    const auto index = names.find(name);
    if (!index) throw FormatError(file.string(), where, "is absent, but state.json names it");
    const TensorEntry& entry = header.entries[*index];
    const std::string actual =
        detail::crc_of(mapped.bytes().subspan(header.data_begin + entry.begin, entry.end - entry.begin));
    if (actual == crc) continue;
    throw FormatError(file.string(), where,
                      fmt::format("is damaged: its CRC-32 is {}, but state.json says {}", actual, crc));
  }
  if (header.entries.size() != expected.crcs.size()) {
    throw FormatError(
        file.string(), "byte 8",
        fmt::format("has {} tensors, but state.json names {}", header.entries.size(), expected.crcs.size()));
  }
}

std::string describe(const TensorSpec& spec) {
  return fmt::format("{} [{}]", c10::toString(spec.dtype), fmt::join(spec.shape, ", "));
}

void check_same_tensors(const SafetensorsHeader& from, const SafetensorsHeader& to, const fs::path& file) {
  const NameIndex from_names(from.entries);
  const NameIndex to_names(to.entries);
  for (const TensorEntry& entry : to.entries) {
    if (is_padding(entry)) continue;
    const auto index = from_names.find(entry.spec.name);
    require(index.has_value(), "{} must hold the model's tensor {}", file.string(), entry.spec.name);
    const TensorSpec& found = from.entries[*index].spec;
    require(found == entry.spec, "tensor {} must be {} as in the model, but in {} it is {}", entry.spec.name,
            describe(entry.spec), file.string(), describe(found));
  }
  for (const TensorEntry& entry : from.entries) {
    require(is_padding(entry) || to_names.find(entry.spec.name), "the model must have the tensor {} of {}",
            entry.spec.name, file.string());
  }
}

std::string instead_of(const fs::path& damaged) {
  const auto older = CheckpointStore(damaged.parent_path(), 0).before(damaged);
  if (!older) return "use another checkpoint";
  return fmt::format("the one before is {}; --resume auto goes on from it once the damaged one is moved away",
                     older->string());
}

}  // namespace

void load_safetensors(const fs::path& file, const Arena& arena) {
  const MappedFile mapped(file);
  const SafetensorsHeader from = parse_safetensors_header(mapped.bytes(), file.string());
  check_same_tensors(from, arena.header(), file);
  const NameIndex names(from.entries);
  for (const TensorEntry& entry : arena.header().entries) {
    if (is_padding(entry)) continue;
    const TensorEntry& source = from.entries[*names.find(entry.spec.name)];
    std::memcpy(arena.data().data() + entry.begin, mapped.bytes().data() + from.data_begin + source.begin,
                entry.end - entry.begin);
  }
}

json read_state(const fs::path& checkpoint) {
  std::error_code ignored;
  require(fs::exists(checkpoint, ignored), "there is no checkpoint at {}", checkpoint.string());
  if (!fs::is_directory(checkpoint)) return json::object();
  const fs::path state_file = checkpoint / kStateFile;
  require(fs::exists(state_file, ignored), "{} must be a checkpoint, but has no {}", checkpoint.string(), kStateFile);
  return detail::read_json(state_file);
}

json load_state(const fs::path& checkpoint) {
  try {
    json state = read_state(checkpoint);
    if (!fs::is_directory(checkpoint)) return state;
    for (const auto& [name, record] : detail::read_file_records(state, checkpoint / kStateFile)) {
      verify_file(checkpoint / name, record);
    }
    state.erase(kFilesKey);
    return state;
  } catch (FormatError& error) {
    error.add_hint(instead_of(checkpoint));
    throw;
  }
}

fs::path model_file(const fs::path& checkpoint) {
  return fs::is_directory(checkpoint) ? checkpoint / kModelFile : checkpoint;
}

}  // namespace hogpen
