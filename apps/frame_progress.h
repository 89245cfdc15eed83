#pragma once

#include <chrono>

#include "apps/status_line.h"
#include "runtime/frame/frame.h"
#include "runtime/process/stop_signals.h"

namespace hogpen {

/// Tells on stderr how far a Frame's computation is: nothing of a short one.
///
/// Sharing: one thread at a time. Owns: while it lives, SIGINT and SIGTERM.
class FrameProgressView {
 public:
  explicit FrameProgressView(bool is_quiet);

  /// Throws: Stopped, when a signal has come.
  void update(const FrameProgress& progress);
  void check_signals();
  void clear() { line_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;

  bool is_quiet_;
  StopSignals signals_;
  StatusLine line_;
  Clock::time_point began_ = Clock::now();
  Clock::time_point shown_ = began_;
};

}  // namespace hogpen
