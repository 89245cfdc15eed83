#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/cli.h"

namespace hogpen {

/// A value of an option, and where it was given: "HOGPEN_LR", "experiment.toml:3:1", "the command line".
struct Setting {
  std::string option;  ///< long name, without dashes
  std::string value;
  std::string origin;
};

/// The values in a TOML file. Keys are the long names of options, also with `_` for `-`; those in a table named
/// `table` count as well, and more than those outside.
///
/// Throws: UsageError that begins with file:line:column, for what is no TOML, an unknown key and one given twice.
[[nodiscard]] std::vector<Setting> settings_in_file(const std::string& path, const std::string& table,
                                                    const std::vector<std::string>& options);

/// The values in environment variables: HOGPEN_BATCH_SIZE for batch-size. An empty one counts as absent; one that looks
/// like a slip is warned of.
[[nodiscard]] std::vector<Setting> settings_in_environment(const std::vector<std::string>& options);

/// Finds settings that are weaker than those given.
using FindBeneath = std::function<std::vector<Setting>(const std::vector<Setting>& given)>;

/// Gives a parser the values of its --config file, of the environment, and of the command line, in this order, so that
/// the latter win. Then, with all of them in place, `beneath` may find more, which lie under them. Returns what each
/// option got and whence, without those left at their defaults.
///
/// Requires: the command line has been parsed. Throws: UsageError naming the origin of a wrong value.
std::vector<Setting> apply_settings(CLI::App& program, CLI::App& parser, const Arguments& command_line,
                                    const FindBeneath& beneath = {});

}  // namespace hogpen
