#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "models/train_plan.h"

namespace hogpen::detail {

/// The trainer's own record in a checkpoint's state.json (docs/formats.md). `step` is in batches.
[[nodiscard]] nlohmann::json make_record(const TrainPlan& plan, std::int64_t step,
                                         const std::optional<Evaluation>& evaluation);

/// The batch from which to go on: the record's step, scaled where the batch size has changed. An empty record (a file
/// saved from Python) means the beginning.
///
/// Throws: UsageError when the record's model or optimizer is not the one asked for.
[[nodiscard]] std::uint64_t resume_from(const nlohmann::json& record, const std::string& description,
                                        const TrainerOptions& options, std::int64_t batches_per_epoch);

}  // namespace hogpen::detail
