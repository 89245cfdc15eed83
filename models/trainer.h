#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "models/dataset.h"
#include "models/model.h"
#include "models/trainer_options.h"

namespace hogpen {

namespace detail {
struct TrainPlan;
class EvaluationPipe;
}  // namespace detail

/// Loss and accuracy on the test set.
struct Evaluation {
  std::int64_t step = 0;  ///< batches done
  double epoch = 0.0;
  double loss = 0.0;
  double accuracy = 0.0;  ///< of 0 to 1
};

/// What was settled before the first step.
struct TrainStart {
  Engine engine = Engine::automatic;  ///< the one that computes the steps: never automatic
  int workers = 0;
  std::string device;                 ///< "cpu", or "cuda:0,1" for these GPUs
  std::string why_no_gpu;             ///< where `TrainerOptions::device` was "auto", and there is none
  std::int64_t parameters = 0;        ///< how many, buffers included
  std::filesystem::path live_model;   ///< the link to them
  std::uint64_t huge_page_bytes = 0;  ///< of the parameters' and the optimizer's memory, so much lies in huge pages
};

struct TrainProgress {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t batches_per_epoch = 0;
  std::uint64_t samples = 0;        ///< since the start of this run
  double samples_per_second = 0.0;  ///< over the latest second or so
  double loss = 0.0;                ///< mean of the workers' latest
  double lr = 0.0;
  int workers = 0;
  int workers_running = 0;
};

struct TrainResult {
  std::optional<Evaluation> evaluation;             ///< of the end; none when a second signal came before it was saved
  std::optional<std::filesystem::path> checkpoint;  ///< the last one; older than the end when there is no `evaluation`
  Engine engine = Engine::automatic;                ///< as in TrainStart
  int workers = 0;                                  ///< likewise
  std::string device;                               ///< likewise
  std::string why_no_gpu;                           ///< likewise
  std::uint64_t samples = 0;
  std::uint64_t skipped_steps = 0;
  double seconds = 0.0;                   ///< from the start of the workers to their last step
  double seconds_to_first_step = 0.0;     ///< from the call of `run` to the end of the first step of any worker
  double seconds_after_first_step = 0.0;  ///< from there to the last step
  Staleness staleness;                    ///< docs/hogwild.md says what is measured
  LaunchReport launch;
};

/// Trains one model in shared memory with several workers.
///
/// The run directory holds `checkpoints/step-N/`, `metrics.jsonl`, TensorBoard events, and while it runs
/// `live.safetensors`, a link to the parameters as they are being trained.
///
/// Sharing: used by one thread, of a process with no other while workers are processes. Owns: the shared memory of the
/// run.
class Trainer {
 public:
  /// `description` names the model in checkpoints (for `parse_model`: the text).
  ///
  /// Throws: UsageError for options that make no sense.
  Trainer(ModelFactory factory, std::string description, DatasetPair data, TrainerOptions options);

  /// Called once, in the launcher, when all is there but the workers.
  void on_start(std::function<void(const TrainStart&)> callback) { on_start_ = std::move(callback); }
  /// Called some ten times a second, in the launcher.
  void on_progress(std::function<void(const TrainProgress&)> callback) { on_progress_ = std::move(callback); }
  /// Called after each evaluation, in the launcher.
  void on_evaluation(std::function<void(const Evaluation&)> callback) { on_evaluation_ = std::move(callback); }

  /// Trains to the end, or until SIGINT or SIGTERM, and saves a checkpoint in either case. Where the checkpoint to
  /// resume has all epochs already, it is evaluated and nothing is saved.
  ///
  /// Throws: UsageError when the run directory holds checkpoints that `resume` does not go on from, or is used by
  /// another run; FormatError for a damaged checkpoint; what `Launcher::run` throws; Error when the loss became NaN.
  TrainResult run();

 private:
  struct Settled;
  /// Where to train, with how many workers, and the memory for it.
  Settled settle(const nlohmann::json& record);
  TrainResult launch(const detail::TrainPlan& plan, detail::EvaluationPipe& evaluations,
                     Deadline::Clock::time_point called);

  ModelFactory factory_;
  std::string description_;
  DatasetPair data_;
  TrainerOptions options_;
  std::function<void(const TrainStart&)> on_start_;
  std::function<void(const TrainProgress&)> on_progress_;
  std::function<void(const Evaluation&)> on_evaluation_;
};

/// What `--resume auto` goes on from: the newest checkpoint of a run directory; nothing when there is none.
[[nodiscard]] std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run_directory);

/// Opens data by name and record (`TrainerOptions::data_record`, or nothing).
using OpenData = std::function<DatasetPair(const std::string& name, const std::string& record)>;

/// Loads a checkpoint and evaluates it. Throws: what `load_state`, `load_safetensors` and `parse_model` throw;
/// UsageError when model or data set do not fit. `model` and `data_name` replace what the checkpoint's own record says;
/// a lone .safetensors file needs `model`. Without `open_data`, `open_dataset` does it.
[[nodiscard]] Evaluation evaluate_checkpoint(const std::filesystem::path& checkpoint, std::optional<std::string> model,
                                             std::optional<std::string> data_name, const OpenData& open_data = {});

}  // namespace hogpen
