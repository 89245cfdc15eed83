#include "apps/cli.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string_view>

#include "runtime/core/error.h"
#include "runtime/core/suggest.h"

namespace hogpen {
namespace {

constexpr std::size_t kNameColumn = 30;
constexpr std::size_t kHelpColumns = 110;

// Breaks a text into lines that fit beside the names of the options.
std::string wrap(const std::string& text) {
  std::string wrapped;
  std::size_t used = 0;
  for (const std::string& word : CLI::detail::split(text, ' ')) {
    const bool fits = kNameColumn + used + 1 + word.size() <= kHelpColumns;
    if (used > 0) wrapped += fits ? ' ' : '\n';
    used = fits && used > 0 ? used + 1 + word.size() : word.size();
    wrapped += word;
  }
  return wrapped;
}

// CLI11's own puts defaults among the names, where a long one pushes the text to the next line.
class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(kNameColumn);
    label("Usage", "usage");
    label("SUBCOMMAND", "COMMAND");
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_type_size() == 0 ? "" : " " + option->get_type_name();
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string standard = option->get_default_str();
    const bool has_value = option->get_type_size() != 0;
    return wrap(option->get_description() + (has_value && !standard.empty() ? " [" + standard + "]" : ""));
  }
};

std::string with_dashes(std::string argument) {
  if (argument.starts_with("--")) std::replace(argument.begin(), argument.begin() + name_length(argument), '_', '-');
  return argument;
}

// What CLI11 could not place: a mistyped subcommand or option, or one word too many.
void refuse_extras(const CLI::App& program) {
  const std::vector<std::string> extras = program.remaining(true);
  if (extras.empty()) return;
  const auto chosen = program.get_subcommands();
  const CLI::App& parser = chosen.empty() ? program : *chosen.back();
  const std::string help = fmt::format("{}{} --help lists what there is", program.get_name(),
                                       chosen.empty() ? "" : " " + parser.get_name());
  const std::string& first = extras.front();
  if (first.starts_with("-")) {
    const std::string name = first.substr(0, first.find('='));
    const std::string hint = name.starts_with("--") ? suggestion(name.substr(2), option_names(parser), "--") : "";
    throw UsageError(fmt::format("there is no option {}", name), hint.empty() ? help : hint);
  }
  if (!chosen.empty()) throw UsageError(fmt::format("{} takes no argument '{}'", parser.get_name(), first), help);
  std::vector<std::string> commands;
  for (const CLI::App* command : program.get_subcommands({})) commands.push_back(command->get_name());
  const std::string hint = suggestion(first, commands);
  throw UsageError(fmt::format("there is no command '{}'", first), hint.empty() ? help : hint);
}

}  // namespace
}  // namespace hogpen
