#include "runtime/core/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace hogpen {
namespace {

constexpr std::string_view kEraseLine = "\x1b[K";

std::atomic<LogLevel> g_level{LogLevel::info};

// The cursor may wait at the beginning of a progress line that is longer than the message.
std::string_view line_start() noexcept {
  const char* type = std::getenv("TERM");
  const bool can_erase = type && std::string_view(type) != "dumb" && ::isatty(STDERR_FILENO);
  return can_erase ? kEraseLine : std::string_view();
}

}  // namespace

void set_log_level(LogLevel level) noexcept {
  // Relaxed: the level guards no other data.
  g_level.store(level, std::memory_order_relaxed);
}

LogLevel log_level() noexcept {
  return g_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view message) noexcept {
  constexpr std::string_view kPrefix[] = {"hogpen: error: ", "hogpen: warning: ", "hogpen: ", "hogpen: "};
  try {
    const std::string line = fmt::format("{}{}{}\n", line_start(), kPrefix[static_cast<int>(level)], message);
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  } catch (...) {  // Out of memory: a lost log line is better than a lost run.
  }
}

}  // namespace hogpen
