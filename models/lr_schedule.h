#pragma once

#include <cstdint>
#include <string>

namespace hogpen {

/// Learning rate as a function of the step.
///
/// Sharing: a value.
struct LrSchedule {
  enum class Kind { constant, step, cosine };

  Kind kind = Kind::constant;
  double base_lr = 0.1;
  std::int64_t warmup_steps = 0;  ///< the rate rises linearly over these: base * (step + 1) / warmup_steps
  std::int64_t total_steps = 0;   ///< cosine: reaches min_lr here, and stays
  std::int64_t step_size = 0;     ///< step: multiplied by gamma every step_size steps after the warm-up
  double gamma = 0.1;             ///< step
  double min_lr = 0.0;            ///< cosine

  /// The rate of step `step`, counted from 0.
  ///
  /// Requires: `check` passes. Throws: UsageError for a negative step.
  /// Source: torch.optim.lr_scheduler's LinearLR, StepLR, CosineAnnealingLR (in closed form).
  [[nodiscard]] double at(std::int64_t step) const;
  /// Throws: UsageError naming the field that makes no sense.
  void check() const;
};

/// "constant", "step" or "cosine". Throws: UsageError for another name.
[[nodiscard]] LrSchedule::Kind lr_schedule_kind(const std::string& name);
[[nodiscard]] std::string to_string(LrSchedule::Kind kind);

}  // namespace hogpen
