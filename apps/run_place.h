#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/settings.h"

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

/// What it knows of its data (`TrainerOptions::data_record`), or nothing. Throws: FormatError for a damaged one.
[[nodiscard]] std::string data_record_of(const std::filesystem::path& checkpoint);

/// What the command that wrote a checkpoint was told about the training, as settings weaker than all that is given now.
/// `model` and `data` are known of a checkpoint that another program wrote, too.
[[nodiscard]] std::vector<Setting> recorded_settings(const std::filesystem::path& checkpoint,
                                                     const std::vector<Setting>& given);
/// The same, to be written into checkpoints.
[[nodiscard]] std::map<std::string, std::string> settings_to_record(const std::vector<Setting>& given);

}  // namespace hogpen
