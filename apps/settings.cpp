#include "apps/settings.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <optional>
#include <string_view>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

constexpr std::string_view kVariablePrefix = "HOGPEN_";

std::string variable_of(const std::string& option) {
  std::string name(kVariablePrefix);
  for (const char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Turns the tables of one TOML file into settings.
///
/// Sharing: one thread. Owns: the settings read so far.
class FileReader {
 public:
  FileReader(const std::string& path, const std::vector<std::string>& options) : path_(path), options_(options) {}

  /// `inner`: a table in it that is read after it; empty for none.
  void read(const toml::table& table, const std::string& inner) {
    std::map<std::string, std::string> first_place;
    for (const auto& [key, node] : table) {
      const std::string place = place_of(key.source());
      if (key.str() == inner && node.is_table()) continue;
      std::string option(key.str());
      std::replace(option.begin(), option.end(), '_', '-');
      if (!contains(options_, option)) refuse(place, std::string(key.str()), node.is_table() ? inner : "");
      const auto [first, is_new] = first_place.emplace(option, place);
      require(is_new, "{}: '{}' stands already at {}", place, key.str(), first->second);
      settings_.push_back({option, value_of(node), place});
    }
    if (const toml::table* own = inner.empty() ? nullptr : table[inner].as_table()) read(*own, {});
  }
  [[nodiscard]] std::vector<Setting> take() { return std::move(settings_); }

 private:
  [[nodiscard]] std::string place_of(const toml::source_region& source) const {
    return fmt::format("{}:{}:{}", path_, source.begin.line, source.begin.column);
  }

  [[nodiscard]] std::string value_of(const toml::node& node) const {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
    if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
    if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
    throw UsageError(fmt::format("{}: must be a string, a number, true or false", place_of(node.source())));
  }

  /// `table`: the name that an unknown table may have been meant to have; empty for an unknown option.
  [[noreturn]] void refuse(const std::string& place, const std::string& key, const std::string& table) const {
    if (!table.empty())
      throw UsageError(fmt::format("{}: there is no table '{}'", place, key), suggestion(key, {table}));
    throw UsageError(fmt::format("{}: there is no option '{}'", place, key), suggestion(key, options_));
  }

  const std::string& path_;
  const std::vector<std::string>& options_;
  std::vector<Setting> settings_;
};

std::string read_config(const std::string& path) {
  try {
    return read_file(path);
  } catch (const SystemError& error) {
    throw UsageError(fmt::format("--config: {}", error.what()));
  }
}

// A variable that nearly has an option's name would else be ignored without a word.
void warn_of_slips(const std::vector<std::string>& options) {
  std::vector<std::string> variables;
  for (const std::string& option : options) variables.push_back(variable_of(option).substr(kVariablePrefix.size()));
  for (char** entry = ::environ; *entry; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with(kVariablePrefix)) continue;
    const std::string_view variable = text.substr(0, text.find('='));
    const std::string name(variable.substr(kVariablePrefix.size()));
    if (name == "CONFIG" || contains(variables, name)) continue;
    const std::string hint = suggestion(name, variables, std::string(kVariablePrefix));
    if (!hint.empty()) log(LogLevel::warning, "the environment variable {} is of no effect; {}", variable, hint);
  }
}

/// What there is beside the command line, weakest first.
std::vector<Setting> settings_around(const CLI::App& parser, std::vector<std::string> options) {
  std::erase_if(options, [](const std::string& option) { return option == "help" || option == "config"; });
  std::string config = parser.get_option("--config")->as<std::string>();
  if (config.empty()) {
    const char* variable = std::getenv(variable_of("config").c_str());
    config = variable ? variable : "";
  }
  std::vector<Setting> settings;
  if (!config.empty()) settings = settings_in_file(config, parser.get_name(), options);
  const std::vector<Setting> environment = settings_in_environment(options);
  settings.insert(settings.end(), environment.begin(), environment.end());
  return settings;
}

/// Applies the layers around the command line, weakest first, then the command line itself.
std::vector<Setting> apply_layers(CLI::App& program, CLI::App& parser, const std::vector<Setting>& around,
                                  const Arguments& command_line) {
  std::map<std::string, Setting> effective;
  const auto record = [&](Setting setting) {
    setting.option = parser.get_option("--" + setting.option)->get_lnames().front();
    effective[setting.option] = std::move(setting);
  };
  // Each layer is parsed on its own, so that CLI11's error is about one value whose origin is known. A variable keeps
  // the value of the layer before unless the next one has another.
  for (const Setting& setting : around) {
    try {
      parse(program, {parser.get_name(), fmt::format("--{}={}", setting.option, setting.value)});
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", setting.origin, error.what()), error.hint());
    }
    record(setting);
  }
  parse(program, command_line);
  for (const CLI::Option* option : parser.get_options()) {
    if (option->count() == 0 || option->get_lnames().empty()) continue;
    record({option->get_lnames().front(), fmt::format("{}", fmt::join(option->results(), " ")), "the command line"});
  }
  std::vector<Setting> settings;
  for (auto& [option, setting] : effective) settings.push_back(std::move(setting));
  return settings;
}

}  // namespace

std::vector<Setting> settings_in_file(const std::string& path, const std::string& table,
                                      const std::vector<std::string>& options) {
  try {
    FileReader reader(path, options);
    reader.read(toml::parse(read_config(path), path), table);
    return reader.take();
  } catch (const toml::parse_error& error) {
    const toml::source_position& at = error.source().begin;
    throw UsageError(fmt::format("{}:{}:{}: {}", path, at.line, at.column, error.description()));
  }
}

std::vector<Setting> settings_in_environment(const std::vector<std::string>& options) {
  std::vector<Setting> settings;
  for (const std::string& option : options) {
    const std::string name = variable_of(option);
    const char* value = std::getenv(name.c_str());
    if (value && *value) settings.push_back({option, value, name});
  }
  warn_of_slips(options);
  return settings;
}

std::vector<Setting> apply_settings(CLI::App& program, CLI::App& parser, const Arguments& command_line,
                                    const FindBeneath& beneath) {
  const std::vector<Setting> around = settings_around(parser, option_names(parser));
  std::vector<Setting> given = apply_layers(program, parser, around, command_line);
  std::vector<Setting> layers = beneath ? beneath(given) : std::vector<Setting>();
  if (layers.empty()) return given;
  layers.insert(layers.end(), around.begin(), around.end());
  return apply_layers(program, parser, layers, command_line);
}

}  // namespace hogpen
