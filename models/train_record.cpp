#include "models/train_record.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/core/error.h"

namespace hogpen::detail {
namespace {

using nlohmann::json;

json optimizer_record(const OptimizerOptions& o) {
  return {{"kind", to_string(o.kind)},
          {"momentum", o.momentum},
          {"dampening", o.dampening},
          {"nesterov", o.nesterov},
          {"weight_decay", o.weight_decay},
          {"beta1", o.beta1},
          {"beta2", o.beta2},
          {"alpha", o.alpha},
          {"eps", o.eps},
          {"lr_decay", o.lr_decay},
          {"state", o.state == StateSharing::shared ? "shared" : "private"}};
}

json schedule_record(const LrSchedule& s) {
  return {{"kind", to_string(s.kind)},
          {"base_lr", s.base_lr},
          {"warmup_steps", s.warmup_steps},
          {"total_steps", s.total_steps},
          {"step_size", s.step_size},
          {"gamma", s.gamma},
          {"min_lr", s.min_lr}};
}

}  // namespace

json make_record(const TrainPlan& plan, std::int64_t step, const std::optional<Evaluation>& evaluation) {
  const TrainerOptions& options = plan.options;
  json record = {{"model", plan.description},
                 {"data", options.data_name},
                 {"settings", options.settings},
                 {"step", step},
                 {"batches_per_epoch", plan.batches_per_epoch},
                 {"epoch", static_cast<double>(step) / static_cast<double>(plan.batches_per_epoch)},
                 {"batch_size", options.batch_size},
                 {"seed", options.seed},
                 {"workers", options.launcher.workers},
                 {"mode", to_string(options.mode)},
                 {"replicas", to_string(options.replicas)},
                 {"merge_every", options.merge_every},
                 {"optimizer", optimizer_record(options.optimizer)},
                 {"optimizer_copies", plan.optimizer_copies},
                 {"lr_schedule", schedule_record(options.schedule)},
                 {"normalization", {{"mean", plan.normalization.mean}, {"stddev", plan.normalization.stddev}}}};
  if (!options.data_record.empty()) record["data_record"] = json::parse(options.data_record);
  if (evaluation) {
    record["evaluation"] = {{"step", evaluation->step}, {"loss", evaluation->loss}, {"accuracy", evaluation->accuracy}};
  }
  return record;
}

std::uint64_t resume_from(const json& record, const std::string& description, const TrainerOptions& options,
                          std::int64_t batches_per_epoch) {
  if (record.empty()) return 0;
  const auto model = record.at("model").get<std::string>();
  require(model == description, "the checkpoint holds the model \"{}\", but \"{}\" was asked for", model, description);
  const auto optimizer = record.at("optimizer").at("kind").get<std::string>();
  require(optimizer == to_string(options.optimizer.kind),
          "the checkpoint was trained with the optimizer {}, but {} was asked for", optimizer,
          to_string(options.optimizer.kind));
  const auto step = record.at("step").get<std::uint64_t>();
  const auto per_epoch = record.at("batches_per_epoch").get<std::int64_t>();
  if (per_epoch == batches_per_epoch) return step;
  require(per_epoch > 0, "the checkpoint's batches_per_epoch must be positive, but is {}", per_epoch);
  return static_cast<std::uint64_t>(std::llround(static_cast<double>(step) / static_cast<double>(per_epoch) *
                                                 static_cast<double>(batches_per_epoch)));
}

}  // namespace hogpen::detail
