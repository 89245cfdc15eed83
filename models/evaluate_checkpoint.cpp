#include <nlohmann/json.hpp>
#include <utility>

#include "models/checkpoint.h"
#include "models/train_step.h"
#include "models/trainer.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

std::string choose(std::optional<std::string> given, const nlohmann::json& record, const char* key,
                   const std::filesystem::path& checkpoint) {
  if (given) return std::move(*given);
  if (record.contains(key)) return record.at(key).get<std::string>();
  throw UsageError(fmt::format("{} has no record of its {}", checkpoint.string(), key),
                   fmt::format("say it with --{}", key));
}

}  // namespace

Evaluation evaluate_checkpoint(const std::filesystem::path& checkpoint, std::optional<std::string> model,
                               std::optional<std::string> data_name, const OpenData& open_data) {
  const nlohmann::json record = load_state(checkpoint);
  Model fresh = parse_model(choose(std::move(model), record, "model", checkpoint));
  const std::string name = choose(std::move(data_name), record, "data", checkpoint);
  const std::string data_record = record.contains("data_record") ? record["data_record"].dump() : "";
  const DatasetPair data = open_data ? open_data(name, data_record) : open_dataset(name);
  const Arena arena = share_memory(*fresh.module);
  load_safetensors(model_file(checkpoint), arena);
  Dataset::Normalization normalization = data.train.normalization();
  if (record.contains("normalization")) {
    normalization = {.mean = record["normalization"].at("mean").get<double>(),
                     .stddev = record["normalization"].at("stddev").get<double>()};
  }
  SharedModel bound(std::move(fresh), arena);
  const Score score = evaluate(bound, data.test, normalization);
  return {.step = record.value("step", std::int64_t{0}),
          .epoch = record.value("epoch", 0.0),
          .loss = score.loss,
          .accuracy = score.accuracy};
}

}  // namespace hogpen
