#include "apps/bench/trainings.h"

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "apps/train_options.h"
#include "runtime/core/error.h"
#include "runtime/memory/shared.h"

namespace hogpen {
namespace {

constexpr std::int64_t kSide = 28;
constexpr std::int64_t kSamples = 60'000;      // Fashion-MNIST's
constexpr std::int64_t kLeastSamples = 2'048;  // two of the largest batches

std::filesystem::path make_temporary_directory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hogpen-bench-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw SystemError("mkdtemp of " + pattern, errno);
  return pattern;
}

DatasetPair synthetic_data(std::int64_t samples) {
  return {Dataset::synthetic(samples, kSide, kSide, 10, 1), Dataset::synthetic(samples / 6, kSide, kSide, 10, 2)};
}

DatasetPair open_data(Recorder& recorder) {
  const std::int64_t room = recorder.max_elements() / (kSide * kSide);
  if (room < kSamples) {
    const std::int64_t samples = std::max(room, kLeastSamples);
    recorder.note(fmt::format("on {} synthetic samples, because of --max-elements", samples));
    return synthetic_data(samples);
  }
  try {
    return open_dataset("fashion-mnist");
  } catch (const UsageError& error) {
    recorder.note(fmt::format("on synthetic data: {} ({})", error.what(), error.hint()));
    return synthetic_data(kSamples);
  }
}

TrainingOutcome train(const TrainerOptions& options, const DatasetPair& data,
                      const std::function<void(const TrainProgress&)>& on_progress) {
  const std::string text = TrainArguments().model;
  Trainer trainer([&text] { return parse_model(text); }, text, data, options);
  trainer.on_progress(on_progress);
  const TrainResult result = trainer.run();
  return {.samples = result.samples,
          .seconds = result.seconds,
          .seconds_to_first_step = result.seconds_to_first_step,
          .seconds_after_first_step = result.seconds_after_first_step,
          .accuracy = result.evaluation.value().accuracy};
}

}  // namespace

Trainings::Trainings(Recorder& recorder) : recorder_(recorder), directory_(make_temporary_directory()) {}

Trainings::~Trainings() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

const DatasetPair& Trainings::all_data() {
  if (!data_) data_ = open_data(recorder_);
  return *data_;
}

TrainingOutcome Trainings::run(TrainerOptions options, const std::function<void(const TrainProgress&)>& on_progress) {
  if (options.max_steps) options.epochs = *options.max_steps;  // An epoch has a step at least.
  options.evaluate_every = 0;
  options.checkpoint_every = 0;
  options.launcher.handle_signals = false;
  options.run_directory = directory_ / "run";
  DatasetPair data = all_data();
  if (options.max_steps) data.test = Dataset::synthetic(10, kSide, kSide, 10, 2);
  TrainingOutcome outcome;
  if (options.launcher.workers_as == WorkersAs::processes) {
    outcome = train(options, data, on_progress);
  } else {
    const Shared<TrainingOutcome> shared;
    run_isolated(WorkersAs::processes, [&] { *shared = train(options, data, {}); });
    outcome = *shared;
  }
  std::filesystem::remove_all(options.run_directory);
  end_if_asked_to();
  return outcome;
}

void Trainings::end_if_asked_to() {
  const auto signal = signals_.next();
  if (!signal) return;
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
  ::signal(*signal, SIG_DFL);
  ::raise(*signal);
}

// The first steps of a run are slow: how fast the rest goes is known from one that takes an eighth of the time.
std::int64_t Trainings::steps_for(TrainerOptions options, double seconds) {
  for (std::int64_t steps = 8 * options.launcher.workers;; steps *= 4) {
    options.max_steps = steps;
    const double took = run(options).seconds_after_first_step;
    if (took >= seconds / 8)
      return std::max(steps, static_cast<std::int64_t>(static_cast<double>(steps) * seconds / took));
  }
}

double Trainings::sample_seconds() const {
  return std::clamp(std::chrono::duration<double>(recorder_.per_figure()).count() / 8, 0.02, 0.25);
}

double Trainings::samples_per_second(const TrainerOptions& options) {
  const TrainingOutcome outcome = run(options);
  const double first = static_cast<double>(options.batch_size);
  return (static_cast<double>(outcome.samples) - first) / outcome.seconds_after_first_step;
}

}  // namespace hogpen
