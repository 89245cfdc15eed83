#pragma once

#include <signal.h>

#include <array>
#include <filesystem>

#include "apps/map/formats.h"

namespace hogpen {

/// From `guard` on, a signal that ends the process at once takes the temporary file with it: SIGHUP of a terminal that
/// closes, SIGQUIT, and SIGBUS, which reading a mapping gives where its file has been shortened or its disk fails. Of
/// the input, that is told as an error is. What nohup or a shell has had ignored stays so.
///
/// Sharing: one in a process, made while it has one thread. Owns: the handlers of the three signals, not the file.
class SuddenEnd {
 public:
  /// Holds the signals back until `guard`, so that none comes between the making of the file and its guarding.
  SuddenEnd();
  ~SuddenEnd();
  SuddenEnd(const SuddenEnd&) = delete;
  SuddenEnd& operator=(const SuddenEnd&) = delete;

  void guard(const Source& in, const std::filesystem::path& temporary);

 private:
  static constexpr std::array kSignals = {SIGHUP, SIGQUIT, SIGBUS};

  ::sigset_t mask_before_;
  std::array<struct ::sigaction, kSignals.size()> before_;
};

}  // namespace hogpen
