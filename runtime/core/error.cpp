#include "runtime/core/error.h"

#include <string.h>

namespace hogpen {

SystemError::SystemError(std::string_view call, int error_number, std::string hint)
    : Error(
          fmt::format("{}: {}", call, strerrordesc_np(error_number) ? strerrordesc_np(error_number) : "unknown error"),
          // Any call that opens something meets it, so that no place knows better.
          hint.empty() && error_number == EMFILE ? "raise the limit on open files: ulimit -n" : std::move(hint)),
      error_number_(error_number) {}

FormatError::FormatError(std::string file, std::string where, const std::string& message, std::string hint)
    : Error(fmt::format("{}: {}: {}", file, where, message), std::move(hint)),
      file_(std::move(file)),
      where_(std::move(where)) {}

std::string signal_name(int signal) {
  const char* abbreviation = sigabbrev_np(signal);
  return abbreviation ? fmt::format("SIG{}", abbreviation) : fmt::format("signal {}", signal);
}

std::string WorkerExit::describe() const {
  std::string text = name.empty() ? fmt::format("worker {}", rank) : name;
  if (pid != 0) text += fmt::format(" (pid {})", pid);
  if (signal) {
    text += fmt::format(" was killed by {}", signal_name(*signal));
  } else if (exit_code && *exit_code != 0) {
    text += fmt::format(" ended with exit code {}", *exit_code);
  } else {
    text += message.empty() ? " ended" : " failed";
  }
  return message.empty() ? text : text + ": " + message;
}

WorkerError::WorkerError(WorkerExit exit, std::string hint)
    : Error(exit.describe(), std::move(hint)), exit_(std::move(exit)) {}

}  // namespace hogpen
