#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace hogpen::detail {

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kFilesKey = "files";

/// What state.json says of another file of its checkpoint.
struct FileRecord {
  std::uintmax_t bytes = 0;
  std::map<std::string, std::string> crcs;  ///< by tensor
};

/// Throws: SystemError; FormatError for what is no JSON.
[[nodiscard]] nlohmann::json read_json(const std::filesystem::path& file);

/// By name of the file. Throws: FormatError.
[[nodiscard]] std::map<std::string, FileRecord> read_file_records(const nlohmann::json& state,
                                                                  const std::filesystem::path& state_file);

}  // namespace hogpen::detail
