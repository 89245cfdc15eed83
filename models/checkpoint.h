#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/core/file.h"
#include "runtime/memory/arena.h"

namespace hogpen {

/// One file of a checkpoint in memory: a private copy of an Arena's bytes, taken while the workers are paused.
using Snapshot = std::vector<std::byte>;

/// What a checkpoint is made of. docs/formats.md describes the files.
struct CheckpointContent {
  std::int64_t step = 0;   ///< batches done
  Snapshot model;          ///< safetensors bytes
  Snapshot optimizer;      ///< safetensors bytes; empty when there is no state
  std::string state_json;  ///< the trainer's own record, a JSON object; "files" is taken
};

/// The checkpoints of one run: directories `step-N/` with model.safetensors, optimizer.safetensors and state.json.
///
/// Saving is atomic: everything is written and synced in `step-N.tmp/`, which is then renamed. The same step saved
/// again lies in `step-N.old/` for a moment, so that there is always one that loads. state.json holds each file's size
/// and for each tensor its CRC-32 (zlib), which loading checks.
///
/// Sharing: one process at a time may save; others may read meanwhile. Owns: nothing.
class CheckpointStore {
 public:
  /// `keep`: how many of the newest checkpoints to keep; 0 keeps all. Touches no file.
  CheckpointStore(std::filesystem::path directory, int keep, FileSystem& files = FileSystem::real());

  /// Writes a checkpoint, and removes the oldest beyond `keep` and what a killed run has left. Fillers of the Arena are
  /// left out of the files, and tensors are ordered by the size of their dtype, so that all stay aligned. Returns its
  /// directory.
  ///
  /// Throws: UsageError naming the first tensor that holds NaN or Inf, before anything is written; SystemError (disk
  /// full, no permission) with nothing left behind.
  std::filesystem::path save(const CheckpointContent& content);

  /// The complete checkpoint with the highest step, if there is one.
  [[nodiscard]] std::optional<std::filesystem::path> latest() const;
  /// The same among those with fewer steps than another, `step-N`.
  [[nodiscard]] std::optional<std::filesystem::path> before(const std::filesystem::path& checkpoint) const;

 private:
  void publish(const std::filesystem::path& temporary, const std::filesystem::path& path);
  void discard(const std::filesystem::path& checkpoint, const std::filesystem::path& path);
  void clean_up();
  void tidy(const std::filesystem::path& saved);
  [[nodiscard]] std::optional<std::filesystem::path> latest_below(std::int64_t bound) const;

  std::filesystem::path directory_;
  int keep_ = 0;
  FileSystem* files_;
};

/// Copies the tensors of a safetensors file into the Arena's tensors of the same names.
///
/// Throws: FormatError when the file is damaged; UsageError naming the first tensor that is absent, left over, or of
/// another shape or dtype. The Arena is unchanged when it throws.
void load_safetensors(const std::filesystem::path& file, const Arena& arena);

/// The trainer's record in state.json of a checkpoint directory, after the CRC of every tensor of its files was
/// checked. A lone `.safetensors` file (saved from Python) has no state: an empty object.
///
/// Throws: UsageError when there is no checkpoint at that path; FormatError with file and byte or tensor, whose hint
/// names the next older checkpoint.
[[nodiscard]] nlohmann::json load_state(const std::filesystem::path& checkpoint);

/// The same without a look at the other files.
[[nodiscard]] nlohmann::json read_state(const std::filesystem::path& checkpoint);

/// `checkpoint`/model.safetensors, or `checkpoint` itself when it is a file.
[[nodiscard]] std::filesystem::path model_file(const std::filesystem::path& checkpoint);

}  // namespace hogpen
