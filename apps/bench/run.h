#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "apps/bench/report.h"

namespace hogpen {

struct RunOptions {
  double seconds = 1;  ///< the most for a figure
  double noise_percent = 2;
  std::int64_t max_elements = std::int64_t{1} << 28;     ///< of the arrays that suites make
  std::function<bool(const std::string&)> wants_suite;   ///< asked with the name of a suite
  std::function<bool(const std::string&)> wants_figure;  ///< asked with "suite/name"
  bool is_selective = false;                             ///< `wants_figure` says no to some
  std::function<void(const std::string&)> write;         ///< told each line of the report as soon as it is there
};

/// Runs the suites; says on stderr where, and what disturbs it.
[[nodiscard]] Report run_suites(const RunOptions& options);

}  // namespace hogpen
