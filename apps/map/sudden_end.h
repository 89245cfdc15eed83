#pragma once

#include <signal.h>

#include <array>
#include <filesystem>

#include "apps/map/formats.h"

namespace hogpen {

/// While it lives, a signal that ends the process at once takes the temporary file with it: SIGHUP of a terminal that
/// closes, SIGQUIT, and SIGBUS, which reading a mapping gives where its file has been shortened or its disk fails. Of
/// the input, that is told as an error is. What nohup or a shell has had ignored stays so.
///
/// Sharing: one in a process. Owns: the handlers of the three signals, not the file.
class SuddenEnd {
 public:
  SuddenEnd(const Source& in, const std::filesystem::path& temporary);
  ~SuddenEnd();
  SuddenEnd(const SuddenEnd&) = delete;
  SuddenEnd& operator=(const SuddenEnd&) = delete;

 private:
  static constexpr std::array kSignals = {SIGHUP, SIGQUIT, SIGBUS};

  std::array<struct ::sigaction, kSignals.size()> before_;
};

}  // namespace hogpen
