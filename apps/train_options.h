#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/cli.h"
#include "models/trainer.h"

namespace hogpen {

/// What `hogpen train` can be told. An optional that is empty has a default that depends on others.
///
/// Sharing: a value.
struct TrainArguments {
  std::string model = "Linear(784,128) ReLU Linear(128,10)";
  std::string data = "fashion-mnist";
  std::int64_t epochs = 10;
  std::int64_t batch_size = 64;
  std::uint64_t seed = 1;

  std::vector<std::string> features;
  std::string label;
  int workers = 0;  ///< 0: as many as there are GPUs or usable CPUs
  std::string workers_as = "processes";
  std::string mode = "hogwild";
  std::string engine = "auto";
  std::string device = "cpu";
  std::string replicas = "one";
  std::optional<int> merge_every;
  std::optional<int> average_every;
  int threads_per_worker = 0;
  bool pin_workers = false;
  int max_restarts = 10;
  double grace_seconds = 5.0;
  double stall_timeout_seconds = 300.0;

  std::string optimizer = "sgd";
  double momentum = 0.0;
  double dampening = 0.0;
  bool nesterov = false;
  std::optional<double> weight_decay;
  std::optional<double> beta1;
  std::optional<double> beta2;
  std::optional<double> alpha;
  std::optional<double> eps;
  std::string optimizer_state = "private";

  std::optional<double> lr;
  std::string lr_schedule = "constant";
  double warmup_epochs = 0.0;
  std::optional<double> lr_step_epochs;
  std::optional<double> lr_gamma;
  std::optional<double> min_lr;

  std::string on_nan = "stop";
  std::int64_t eval_every = 1;

  std::optional<std::string> run_dir;
  std::int64_t checkpoint_every = 1;
  int keep = 3;
  std::string checkpoint = "paused";
  std::optional<std::string> resume;

  std::string config;
  bool json = false;
  bool quiet = false;
  int verbose = 0;
};

/// Adds the options to a parser that lives no longer than `arguments`.
void add_train_options(CLI::App& parser, TrainArguments& arguments);

/// What the engine is to do; run directory and checkpoint are left to the caller.
///
/// Throws: UsageError for an option that has no effect beside the others.
[[nodiscard]] TrainerOptions trainer_options(const TrainArguments& arguments, std::int64_t train_samples);

}  // namespace hogpen
