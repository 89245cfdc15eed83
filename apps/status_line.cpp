#include "apps/status_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace hogpen {
namespace {

constexpr int kUnknownColumns = 80;
constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::string_view kBold = "\x1b[1m";

}  // namespace

Terminal Terminal::of_stderr() {
  const char* type = std::getenv("TERM");
  if (!::isatty(STDERR_FILENO) || !type || std::string_view(type) == "dumb") return {};
  winsize size{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const char* no_color = std::getenv("NO_COLOR");
  return {.columns = is_known ? size.ws_col : kUnknownColumns, .colours = !no_color || !*no_color};
}

StatusLine::StatusLine(Options options) : options_(std::move(options)), last_line_(Clock::now()) {}

bool StatusLine::is_due() const {
  return terminal().columns > 0 || Clock::now() - last_line_ >= options_.plain_period;
}

void StatusLine::show(std::string line) {
  last_line_ = Clock::now();
  const Terminal shape = terminal();
  if (shape.columns == 0) return options_.write(line + "\n");
  // One column stays free: some terminals wrap at once when the last is taken.
  line.resize(std::min(line.size(), static_cast<std::size_t>(shape.columns - 1)));
  if (shape.colours) {
    line.insert(std::min(line.find("  "), line.size()), kResetColour);
    line.insert(0, kBold);
  }
  // The cursor waits at the line's beginning, so that a message of anybody's overwrites it.
  options_.write(fmt::format("{}{}\r", kEraseLine, line));
  is_shown_ = true;
}

void StatusLine::add(const std::string& line) {
  clear();
  options_.write(line + "\n");
  last_line_ = Clock::now();
}

void StatusLine::clear() {
  if (is_shown_) options_.write(kEraseLine);
  is_shown_ = false;
}

}  // namespace hogpen
