#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/lr_schedule.h"
#include "models/optimizer.h"
#include "models/replica.h"
#include "runtime/process/launcher.h"

namespace hogpen {

class BatchBuffer;
class SharedModel;
class TrainStep;

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
  own,        ///< `TrainerOptions::step`
};

/// Makes the step of one worker, on shared parameters, from batches of at most `batch_size` samples. Called once in
/// each life of a worker: the BatchBuffer is the step's own, and so is all that it keeps.
using StepFactory =
    std::function<std::unique_ptr<TrainStep>(SharedModel& model, BatchBuffer buffer, std::int64_t batch_size)>;

enum class OnNan {
  stop,  ///< end the run; the last checkpoint stays
  skip,  ///< drop the step; a hundred in a row end the run
};

struct TrainerOptions {
  LauncherOptions launcher;  ///< with 0 workers: one for each GPU, or where there is none as many as CPUs may be used
  UpdateMode mode = UpdateMode::hogwild;
  Engine engine = Engine::automatic;
  /// "cpu"; "cuda" or "cuda:N": parameters, optimizer state and samples lie in that GPU's memory; "cuda:N,M": each of
  /// these GPUs has them, and workers are dealt out to them by rank; "auto": the first GPU that can be used, else CPUs.
  /// With `step` on a GPU, the caller's program loads what it uses of LibTorch's CUDA libraries.
  std::string device = "cpu";
  StepFactory step;  ///< computes the steps instead of an engine: `engine` is left automatic. See models/train_step.h
  Replicas replicas = Replicas::one;  ///< others with modes hogwild and atomic only
  int merge_every = 4;                ///< steps of a worker between two merges of its replica
  int average_every = 64;             ///< on several GPUs: steps of a worker between two averagings of their replicas
  std::int64_t epochs = 10;           ///< passes over the data by all workers together
  std::optional<std::int64_t> max_steps;  ///< ends the run before its epochs do; the schedule stays that of the epochs
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
  std::string data_record = {};                 ///< JSON, written to state.json for who reads the data again; or empty
  std::string data_name;                        ///< written to state.json, so that `hogpen eval` finds the data
  std::map<std::string, std::string> settings;  ///< of the program, written to state.json for who resumes it
};

[[nodiscard]] UpdateMode update_mode(const std::string& name);
[[nodiscard]] std::string to_string(UpdateMode mode);
/// "auto", "fused" or "autograd". Throws: UsageError for another name.
[[nodiscard]] Engine engine_named(const std::string& name);
[[nodiscard]] std::string to_string(Engine engine);
/// Which GPUs a device's name stands for, "auto" for the one that is looked for; none for "cpu". Throws: UsageError for
/// another name, and for one that has a GPU twice.
[[nodiscard]] std::vector<int> gpus_named(const std::string& device);
/// The name of the device that these GPUs are: "cuda:0,1", or "cpu" for none.
[[nodiscard]] std::string device_of(std::span<const int> gpus);

}  // namespace hogpen
