#pragma once

#include <filesystem>
#include <optional>

#include "runtime/core/fd.h"
#include "runtime/memory/segment.h"

namespace hogpen::detail {

/// A run's directory, held by one run at a time.
///
/// Sharing: one process. Owns: the lock, and `live.safetensors`, which goes with it; and the directory itself where it
/// was new and nothing has been put into it.
class RunDirectory {
 public:
  /// Makes the directory if need be, and locks it. The lock ends with the process, however it ends.
  ///
  /// Throws: UsageError when another run holds it, or when it has checkpoints and `resume` is not the newest of them:
  /// to go on beside them would mix two runs; SystemError when it cannot be made.
  RunDirectory(const std::filesystem::path& path, const std::optional<std::filesystem::path>& resume);
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;
  ~RunDirectory();

  /// Links `live.safetensors` to the Segment, for other processes of the same user.
  void show_live(const Segment& segment);
  [[nodiscard]] std::filesystem::path live() const;

 private:
  std::filesystem::path path_;
  Fd lock_;
  bool is_new_ = false;
};

}  // namespace hogpen::detail
