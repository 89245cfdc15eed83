#include "models/lr_schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

constexpr std::array<std::pair<LrSchedule::Kind, const char*>, 3> kScheduleNames = {{
    {LrSchedule::Kind::constant, "constant"},
    {LrSchedule::Kind::step, "step"},
    {LrSchedule::Kind::cosine, "cosine"},
}};

bool is_rate(double value) {
  return std::isfinite(value) && value >= 0.0;
}

}  // namespace

double LrSchedule::at(std::int64_t step) const {
  require(step >= 0, "step is {}: steps are counted from 0", step);
  if (step < warmup_steps) return base_lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const std::int64_t after_warmup = step - warmup_steps;
  if (kind == Kind::step) return base_lr * std::pow(gamma, static_cast<double>(after_warmup / step_size));
  if (kind == Kind::cosine) {
    const auto span = static_cast<double>(total_steps - warmup_steps);
    const double progress = std::min(1.0, static_cast<double>(after_warmup) / span);
    return min_lr + (base_lr - min_lr) * (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
  }
  return base_lr;
}

void LrSchedule::check() const {
  require(is_rate(base_lr), "base_lr is {}: it must be 0 or a positive number", base_lr);
  require(warmup_steps >= 0, "warmup_steps is {}: it must not be negative", warmup_steps);
  if (kind == Kind::step) {
    require(step_size > 0, "step_size is {}: it must be positive", step_size);
    require(is_rate(gamma), "gamma is {}: it must be 0 or a positive number", gamma);
  }
  if (kind == Kind::cosine) {
    require(total_steps > warmup_steps, "total_steps is {}: it must be more than warmup_steps, {}", total_steps,
            warmup_steps);
    require(is_rate(min_lr) && min_lr <= base_lr, "min_lr is {}: it must lie between 0 and base_lr, {}", min_lr,
            base_lr);
  }
}

LrSchedule::Kind lr_schedule_kind(const std::string& name) {
  const auto* found = std::find_if(kScheduleNames.begin(), kScheduleNames.end(),
                                   [&](const auto& entry) { return name == entry.second; });
  require(found != kScheduleNames.end(), "learning rate schedule '{}' is unknown: it must be constant, step or cosine",
          name);
  return found->first;
}

std::string to_string(LrSchedule::Kind kind) {
  return kScheduleNames.at(static_cast<std::size_t>(kind)).second;
}

}  // namespace hogpen
