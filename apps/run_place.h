#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace hogpen {

/// Where a run writes, and the checkpoint it goes on from, if any.
struct RunPlace {
  std::filesystem::path directory;
  std::optional<std::filesystem::path> checkpoint;
};

/// Finds it from --run-dir and --resume as `hogpen train --help` describes them. Touches nothing.
///
/// Throws: UsageError when `resume` names nothing to resume from.
[[nodiscard]] RunPlace choose_run_place(const std::optional<std::string>& run_dir,
                                        const std::optional<std::string>& resume);

}  // namespace hogpen
