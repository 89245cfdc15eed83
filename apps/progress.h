#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "apps/status_line.h"

namespace hogpen {

struct Evaluation;
struct TrainProgress;

/// Shows how a run goes in a StatusLine; evaluations are lines that stay.
///
/// Sharing: one thread. Owns: nothing.
class ProgressView {
 public:
  struct Options {
    std::int64_t epochs = 1;
    StatusLine::Options line;
  };
  explicit ProgressView(Options options);

  void update(const TrainProgress& progress);
  void add(const Evaluation& evaluation);
  /// Makes room for another line: removes the one that is rewritten.
  void clear() { line_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] std::string describe(const TrainProgress& progress) const;
  [[nodiscard]] std::string time_left(const TrainProgress& progress) const;

  std::int64_t epochs_;
  StatusLine line_;
  Clock::time_point began_;
  std::optional<std::int64_t> first_step_;
  double samples_per_second_ = 0.0;
};

}  // namespace hogpen
