#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "models/dataset.h"
#include "models/lr_schedule.h"
#include "models/model.h"
#include "models/optimizer.h"
#include "runtime/process/launcher.h"

namespace hogpen {

namespace detail {
struct TrainPlan;
class EvaluationPipe;
}  // namespace detail

/// How the workers' updates meet in the shared parameters.
enum class UpdateMode {
  hogwild,  ///< plain stores, no lock: fast; a concurrent update of the same element may be lost
  atomic,   ///< compare-and-swap for each element: none is lost
  locked,   ///< one lock around each update: a baseline
  sync,  ///< gradients are averaged over the workers before each update: repeatable; one step uses workers * batch_size
};

/// What computes a worker's step.
enum class Engine {
  automatic,  ///< fused where that takes the model, else autograd
  fused,      ///< hogpen's own kernels: models/train_step.h says for which models
  autograd,   ///< LibTorch
};

enum class OnNan {
  stop,  ///< end the run; the last checkpoint stays
  skip,  ///< drop the step; a hundred in a row end the run
};

struct TrainerOptions {
  LauncherOptions launcher;
  UpdateMode mode = UpdateMode::hogwild;
  Engine engine = Engine::automatic;
  std::int64_t epochs = 10;  ///< passes over the data by all workers together
  std::int64_t batch_size = 64;
  OptimizerOptions optimizer;
  LrSchedule schedule;  ///< total_steps 0 means all steps of the run; step_size and warmup_steps are in steps (batches)
  std::uint64_t seed = 1;
  OnNan on_nan = OnNan::stop;
  std::int64_t evaluate_every = 1;    ///< epochs; 0: at the end alone
  std::int64_t checkpoint_every = 1;  ///< epochs; 0: at the end alone
  int keep_checkpoints = 3;           ///< 0 keeps all
  bool fuzzy_checkpoints = false;     ///< do not pause the workers for a snapshot
  std::filesystem::path run_directory;
  std::optional<std::filesystem::path> resume;  ///< a checkpoint directory or a .safetensors file
  std::string data_name;                        ///< written to state.json, so that `hogpen eval` finds the data
  std::map<std::string, std::string> settings;  ///< of the program, written to state.json for who resumes it
};

/// Loss and accuracy on the test set.
struct Evaluation {
  std::int64_t step = 0;  ///< batches done
  double epoch = 0.0;
  double loss = 0.0;
  double accuracy = 0.0;  ///< of 0 to 1
};

struct TrainProgress {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::int64_t batches_per_epoch = 0;
  std::uint64_t samples = 0;        ///< since the start of this run
  double samples_per_second = 0.0;  ///< over the latest second or so
  double loss = 0.0;                ///< mean of the workers' latest
  double lr = 0.0;
  int workers_running = 0;
};

struct TrainResult {
  std::optional<Evaluation> evaluation;             ///< of the end; none when a second signal came before it was saved
  std::optional<std::filesystem::path> checkpoint;  ///< the last one; older than the end when there is no `evaluation`
  std::uint64_t samples = 0;
  std::uint64_t skipped_steps = 0;
  double seconds = 0.0;  ///< from the start of the workers to their last step
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
  TrainResult launch(const detail::TrainPlan& plan, detail::EvaluationPipe& evaluations);

  ModelFactory factory_;
  std::string description_;
  DatasetPair data_;
  TrainerOptions options_;
  std::function<void(const TrainProgress&)> on_progress_;
  std::function<void(const Evaluation&)> on_evaluation_;
};

/// What `--resume auto` goes on from: the newest checkpoint of a run directory; nothing when there is none.
[[nodiscard]] std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run_directory);

/// Loads a checkpoint and evaluates it. Throws: what `load_state`, `load_safetensors` and `parse_model` throw;
/// UsageError when model or data set do not fit. `model` and `data_name` replace what the checkpoint's own record says;
/// a lone .safetensors file needs `model`.
[[nodiscard]] Evaluation evaluate_checkpoint(const std::filesystem::path& checkpoint, std::optional<std::string> model,
                                             std::optional<std::string> data_name);

[[nodiscard]] UpdateMode update_mode(const std::string& name);
[[nodiscard]] std::string to_string(UpdateMode mode);
/// "auto", "fused" or "autograd". Throws: UsageError for another name.
[[nodiscard]] Engine engine_named(const std::string& name);

}  // namespace hogpen
