#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace hogpen {

/// A command line without the program's name.
using Arguments = std::vector<std::string>;

/// One subcommand: its parser, and what it does once its command line has been read.
///
/// Sharing: one thread. Owns: the variables its parser fills; the parser is the program's.
struct Command {
  CLI::App* parser = nullptr;
  std::function<int(const Arguments&)> run;  ///< takes the program's whole command line, returns the exit code
};

[[nodiscard]] Command add_train(CLI::App& program);
[[nodiscard]] Command add_eval(CLI::App& program);
[[nodiscard]] Command add_info(CLI::App& program);
[[nodiscard]] Command add_bench(CLI::App& program);
[[nodiscard]] Command add_map(CLI::App& program);
[[nodiscard]] Command add_frame(CLI::App& program);

/// Sets what all subcommands have in common: the looks of --help, and that the last of several values counts.
/// To be called before the first subcommand is added.
void configure(CLI::App& program);

/// Reads a command line. `--batch_size` is taken for `--batch-size`, as torchrun does.
///
/// Throws: UsageError, with a suggestion for a mistyped name; CLI::CallForHelp and CLI::CallForVersion.
void parse(CLI::App& program, const Arguments& arguments);

/// The long names of a parser's options, without dashes; aliases too.
[[nodiscard]] std::vector<std::string> option_names(const CLI::App& parser);

/// "did you mean '--lr'?" for the candidate that `word` is a slip for or the beginning of; empty when there is none.
/// `prefix` is put before the candidate.
[[nodiscard]] std::string suggestion(const std::string& word, const std::vector<std::string>& candidates,
                                     const std::string& prefix = {});

/// Checks of an option's value, for `CLI::Option::transform`.
[[nodiscard]] CLI::Validator whole_number(std::int64_t least,
                                          std::int64_t most = std::numeric_limits<std::int64_t>::max());
/// At least `least` and less than `bound`; never NaN.
[[nodiscard]] CLI::Validator real_number(double least, double bound = std::numeric_limits<double>::infinity());
[[nodiscard]] CLI::Validator one_of(const std::vector<std::string>& choices);
/// Of a switch: true, yes, on, 1, or their opposites.
[[nodiscard]] CLI::Validator true_or_false();
/// Any text but one that looks like the next option.
[[nodiscard]] CLI::Validator any_text();

}  // namespace hogpen
