#include "runtime/core/log.h"

#include <unistd.h>

#include <atomic>

namespace hogpen {
namespace {

std::atomic<LogLevel> g_level{LogLevel::info};

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
    const std::string line = fmt::format("{}{}\n", kPrefix[static_cast<int>(level)], message);
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  } catch (...) {  // Out of memory: a lost log line is better than a lost run.
  }
}

}  // namespace hogpen
