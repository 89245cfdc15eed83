#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace hogpen {

enum class LogLevel { error, warning, info, debug };

/// Messages less urgent than this are dropped. The only global state of hogpen; a forked child inherits it.
void set_log_level(LogLevel level) noexcept;
[[nodiscard]] LogLevel log_level() noexcept;

/// Writes "hogpen: [warning: ]message" and a newline to stderr in one write(2), so that lines of several processes
/// never mix. Never throws.
void log_line(LogLevel level, std::string_view message) noexcept;

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> message, Args&&... args) {
  if (level <= log_level()) log_line(level, fmt::format(message, std::forward<Args>(args)...));
}

}  // namespace hogpen
