#include "apps/frame_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/output.h"
#include "apps/stopped.h"
#include "apps/text.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuiet = 1s;  // Shorter work is over before its progress is read.
constexpr auto kBetweenLines = 100ms;

}  // namespace

FrameProgressView::FrameProgressView(bool is_quiet) : is_quiet_(is_quiet), line_({.write = write_stderr}) {}

void FrameProgressView::check_signals() {
  if (const auto signal = signals_.next()) throw Stopped{*signal};
}

void FrameProgressView::update(const FrameProgress& progress) {
  check_signals();
  const auto now = Clock::now();
  if (is_quiet_ || now - began_ < kQuiet || now - shown_ < kBetweenLines || !line_.is_due()) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  const double done =
      static_cast<double>(progress.bytes) / static_cast<double>(std::max<std::uint64_t>(progress.total_bytes, 1));
  line_.show(fmt::format("read  {:2.0f} %  {:.0f} MB/s  ETA {}", std::floor(100.0 * done),
                         static_cast<double>(progress.bytes) / seconds / 1e6, clock_time(seconds / done - seconds)));
}

}  // namespace hogpen
