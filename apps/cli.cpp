#include "apps/cli.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
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
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    return CLI::detail::find_and_replace(Formatter::make_help(app, std::move(name), mode), "\n\n\n", "\n\n");
  }
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    return CLI::detail::find_and_replace(Formatter::make_option_name(option, is_positional), ",", ", ");
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

std::string hint_for_option(const CLI::App& program, const CLI::App& parser, const std::string& name) {
  if (!name.starts_with("--")) return "";
  const std::vector<std::string> names = option_names(parser);
  const bool is_known = std::find(names.begin(), names.end(), name.substr(2)) != names.end();
  return is_known ? fmt::format("write it behind '{} {}'", program.get_name(), parser.get_name())
                  : suggestion(name.substr(2), names, "--");
}

std::string with_dashes(std::string argument) {
  const auto name_end = argument.begin() + static_cast<std::ptrdiff_t>(std::min(argument.find('='), argument.size()));
  if (argument.starts_with("--")) std::replace(argument.begin(), name_end, '_', '-');
  return argument;
}

// What CLI11 could not place: a mistyped subcommand or option, or one word too many.
void refuse_extras(const CLI::App& program) {
  std::vector<std::string> extras = program.remaining(true);
  std::erase(extras, "--");  // Behind it nothing is an option.
  if (extras.empty()) return;
  const auto chosen = program.get_subcommands();
  const CLI::App& parser = chosen.empty() ? program : *chosen.back();
  const std::string help =
      fmt::format("{}{} --help lists what there is", program.get_name(), chosen.empty() ? "" : " " + parser.get_name());
  const std::string& first = extras.front();
  if (first.starts_with("-")) {
    const std::string name = first.substr(0, first.find('='));
    const std::string hint = hint_for_option(program, parser, name);
    throw UsageError(fmt::format("there is no option {}", name), hint.empty() ? help : hint);
  }
  if (!chosen.empty()) throw UsageError(fmt::format("{} takes no argument '{}'", parser.get_name(), first), help);
  std::vector<std::string> commands;
  for (const CLI::App* command : program.get_subcommands({})) commands.push_back(command->get_name());
  const std::string hint = suggestion(first, commands);
  throw UsageError(fmt::format("there is no command '{}'", first), hint.empty() ? help : hint);
}

}  // namespace

void configure(CLI::App& program) {
  program.formatter(std::make_shared<HelpFormatter>());
  program.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->always_capture_default();
  program.set_help_flag("-h,--help", "Show this text");
  program.require_subcommand(0, 1);
  program.allow_extras();  // `refuse_extras` says more about them than CLI11.
}

void parse(CLI::App& program, const Arguments& arguments) {
  Arguments reversed = arguments;
  std::transform(reversed.begin(), std::ranges::find(reversed, "--"), reversed.begin(), with_dashes);
  std::ranges::reverse(reversed);
  try {
    program.parse(reversed);
  } catch (const CLI::Success&) {
    throw;  // --help and --version
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();
    throw UsageError(text.ends_with("missing") ? text.substr(0, text.find(':')) + ": needs a value" : text);
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  refuse_extras(program);
}

std::vector<std::string> option_names(const CLI::App& parser) {
  std::vector<std::string> names;
  for (const CLI::Option* option : parser.get_options()) {
    const auto& own = option->get_lnames();
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& candidates, const std::string& prefix) {
  std::optional<std::string> meant = closest(word, candidates);
  const auto begins = [&](const std::string& candidate) { return candidate.starts_with(word); };
  if (!meant && word.size() >= 2 && std::count_if(candidates.begin(), candidates.end(), begins) == 1) {
    meant = *std::find_if(candidates.begin(), candidates.end(), begins);
  }
  return meant ? fmt::format("did you mean '{}{}'?", prefix, *meant) : "";
}

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc::invalid_argument || end != text.data() + text.size()) {
      return fmt::format("'{}' is no whole number", text);
    }
    const bool is_huge = error == std::errc::result_out_of_range;
    const bool is_negative = text.starts_with('-');
    if (is_huge ? is_negative : number < least) return fmt::format("must be at least {}, but is {}", least, text);
    if (is_huge || number > most) return fmt::format("must be at most {}, but is {}", most, text);
    text = std::to_string(number);  // CLI11 would take 010 for 8.
    return {};
  };
  return CLI::Validator(check, "");
}

CLI::Validator real_number(double least, double bound) {
  const auto check = [least, bound](std::string& text) -> std::string {
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.erase(0, 1);
    double number = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return fmt::format("'{}' is no number", text);
    if (!std::isfinite(number)) return fmt::format("must be finite, but is {}", text);
    if (!(number >= least)) return fmt::format("must be at least {}, but is {}", least, text);
    if (!(number < bound)) return fmt::format("must be less than {}, but is {}", bound, text);
    return {};
  };
  return CLI::Validator(check, "");
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  const auto check = [choices](std::string& text) -> std::string {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
    const std::string hint = suggestion(text, choices);
    return fmt::format("'{}' is none of {}{}{}", text, fmt::join(choices, ", "), hint.empty() ? "" : ": ", hint);
  };
  return CLI::Validator(check, "");
}

CLI::Validator true_or_false() {
  return one_of({"true", "false", "yes", "no", "on", "off", "1", "0"});
}

CLI::Validator any_text() {
  const auto check = [](std::string& text) -> std::string {
    return text.starts_with("--") ? fmt::format("needs a value, but '{}' follows", text) : "";
  };
  return CLI::Validator(check, "");
}

}  // namespace hogpen
