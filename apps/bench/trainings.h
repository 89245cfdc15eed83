#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "apps/bench/recorder.h"
#include "models/trainer.h"
#include "runtime/process/stop_signals.h"

namespace hogpen {

/// What a training took and reached.
struct TrainingOutcome {
  std::uint64_t samples = 0;
  double seconds = 0;  ///< these three as in TrainResult
  double seconds_to_first_step = 0;
  double seconds_after_first_step = 0;
  double accuracy = 0;  ///< on the test set; of no meaning with `max_steps`
};

/// Trains the default model of `hogpen train` again and again: on Fashion-MNIST, or on synthetic data of its shape
/// where that is not installed or too large. The data is read once, before the first training. It evaluates and saves
/// at the end alone, and nothing is kept.
///
/// Sharing: one thread, of a process with no other. Owns: the data, and a temporary directory for the runs. On SIGINT
/// or SIGTERM the process ends after the training at hand, and the directory is gone.
class Trainings {
 public:
  explicit Trainings(Recorder& recorder);
  Trainings(const Trainings&) = delete;
  Trainings& operator=(const Trainings&) = delete;
  ~Trainings();

  /// With `max_steps` the epochs do not count, and hardly any time is spent on the evaluation. Workers that are threads
  /// live in a child: LibTorch's threads stay. `on_progress` is called for processes alone.
  ///
  /// Throws: what Trainer throws.
  TrainingOutcome run(TrainerOptions options, const std::function<void(const TrainProgress&)>& on_progress = {});

  /// How many steps take about that long.
  [[nodiscard]] std::int64_t steps_for(TrainerOptions options, double seconds);
  /// How long a training is that makes one sample of a figure.
  [[nodiscard]] double sample_seconds() const;
  /// From the first step on: how long the start takes is a figure of its own.
  [[nodiscard]] double samples_per_second(const TrainerOptions& options);

 private:
  [[nodiscard]] const DatasetPair& all_data();
  void end_if_asked_to();

  Recorder& recorder_;
  StopSignals signals_;
  std::filesystem::path directory_;
  std::optional<DatasetPair> data_;
};

}  // namespace hogpen
