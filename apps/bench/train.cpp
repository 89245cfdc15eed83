#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "apps/bench/family_memory.h"
#include "apps/bench/suites.h"
#include "apps/bench/trainings.h"
#include "kernels/dense.h"

namespace hogpen {
namespace {

constexpr std::array kEngines = {std::pair{"fused", Engine::fused}, std::pair{"autograd", Engine::autograd}};
constexpr std::array kWorkers = {1, 2, 4};
constexpr std::array<std::int64_t, 5> kBatchSizes = {1, 16, 64, 256, 1024};
constexpr std::int64_t kBatch = 64;  // the default of `hogpen train`
constexpr int kManyWorkers = 4;
constexpr double kGoal = 0.88;
constexpr std::int64_t kEpochsTried = 10;

std::string count(int workers, WorkersAs workers_as) {
  const bool is_process = workers_as == WorkersAs::processes;
  if (workers == 1) return is_process ? "1 process" : "1 thread";
  return fmt::format("{} {}", workers, is_process ? "processes" : "threads");
}

/// One thread a worker, so that four workers have four times what one has.
TrainerOptions options_for(int workers, Engine engine = Engine::fused, WorkersAs workers_as = WorkersAs::processes,
                           std::int64_t batch_size = kBatch) {
  TrainerOptions options;
  options.launcher = {.workers = workers, .workers_as = workers_as, .threads_per_worker = 1};
  options.engine = engine;
  options.batch_size = batch_size;
  return options;
}

/// The matrix products of a step of the default model, with nothing in between.
///
/// Sharing: one thread. Owns: its matrices.
class Products {
 public:
  [[nodiscard]] double samples_per_second() {
    constexpr std::int64_t kSteps = 200;
    const double seconds = seconds_of([&] {
      for (std::int64_t i = 0; i < kSteps; ++i) step();
    });
    return kSteps * kBatch / seconds;
  }

 private:
  static constexpr std::size_t kIn = 784;
  static constexpr std::size_t kHidden = 128;
  static constexpr std::size_t kOut = 10;
  static constexpr double kRate = 1e-6;  // so small that nothing grows

  void step() {
    kernels::linear_forward(x_.data(), w1_.data(), b1_.data(), h_.data(), kBatch, kIn, kHidden);
    kernels::linear_forward(h_.data(), w2_.data(), b2_.data(), y_.data(), kBatch, kHidden, kOut);
    kernels::linear_backward_input(dy_.data(), w2_.data(), dh_.data(), kBatch, kHidden, kOut);
    kernels::linear_update(dy_.data(), h_.data(), kRate, w2_.data(), b2_.data(), kBatch, kHidden, kOut);
    kernels::linear_update(dh_.data(), x_.data(), kRate, w1_.data(), b1_.data(), kBatch, kIn, kHidden);
  }

  using Matrix = std::vector<float>;
  Matrix x_ = Matrix(kBatch * kIn, 0.5F);
  Matrix h_ = Matrix(kBatch * kHidden);
  Matrix y_ = Matrix(kBatch * kOut);
  Matrix dh_ = Matrix(kBatch * kHidden);
  Matrix dy_ = Matrix(kBatch * kOut, 0.01F);
  Matrix w1_ = Matrix(kHidden * kIn, 0.01F);
  Matrix b1_ = Matrix(kHidden);
  Matrix w2_ = Matrix(kOut * kHidden, 0.01F);
  Matrix b2_ = Matrix(kOut);
};

/// What is measured also when nobody has asked for it by name: a curve for one worker and for four, and every kind of
/// worker at the default's size.
bool is_of_default(const TrainerOptions& options) {
  const bool is_on_curve = options.launcher.workers_as == WorkersAs::processes && options.launcher.workers != 2;
  return is_on_curve || options.batch_size == kBatch;
}

void measure_rate(Recorder& recorder, Trainings& trainings, const char* engine, TrainerOptions options) {
  const std::string workers = count(options.launcher.workers, options.launcher.workers_as);
  const FigureLabel label = {.name = fmt::format("{}, {}, batch {}", engine, workers, options.batch_size),
                             .unit = "samples/s",
                             .series = workers,
                             .size = options.batch_size,
                             .group = fmt::format("{} engine", engine),
                             .size_is = "batch size"};
  if (!recorder.wants(label.name) || !(recorder.is_selective() || is_of_default(options))) return;
  options.max_steps = trainings.steps_for(options, trainings.sample_seconds());
  std::function<double()> limit;
  Products products;
  if (options.engine == Engine::fused && options.launcher.workers == 1 && options.batch_size == kBatch) {
    limit = [&] { return products.samples_per_second(); };
  }
  recorder.measure(label, [&] { return trainings.samples_per_second(options); }, limit);
}

void measure_rates(Recorder& recorder, Trainings& trainings) {
  for (const auto& [name, engine] : kEngines) {
    for (const std::int64_t batch_size : kBatchSizes) {
      for (const WorkersAs workers_as : {WorkersAs::processes, WorkersAs::threads}) {
        for (const int workers : kWorkers) {
          measure_rate(recorder, trainings, name, options_for(workers, engine, workers_as, batch_size));
        }
      }
    }
  }
}

void measure_start(Recorder& recorder, Trainings& trainings, int workers) {
  TrainerOptions options = options_for(workers);
  options.max_steps = workers;
  recorder.measure(fmt::format("start to first step, {}", count(workers, WorkersAs::processes)), "ms",
                   [&] { return 1e3 * trainings.run(options).seconds_to_first_step; });
}

/// The most that was resident while all workers were at work. Makes the training longer where it ended unseen.
double peak_megabytes(Trainings& trainings, TrainerOptions& options) {
  for (;; *options.max_steps *= 2) {
    std::uint64_t most = 0;
    trainings.run(options, [&](const TrainProgress& progress) {
      if (progress.samples == 0 || progress.workers_running < options.launcher.workers) return;
      most = std::max(most, family_memory_bytes().value_or(0));
    });
    if (most > 0) return 1e-6 * static_cast<double>(most);
  }
}

void measure_memory(Recorder& recorder, Trainings& trainings) {
  const std::string name = "memory of a further worker";
  if (!recorder.wants(name)) return;
  if (!family_memory_bytes()) return recorder.note(name + " is not known: this kernel does not tell");
  constexpr double kSeconds = 0.8;  // It is looked at every 100 ms, and the keeper is late.
  TrainerOptions alone = options_for(1);
  TrainerOptions many = options_for(kManyWorkers);
  alone.max_steps = trainings.steps_for(alone, kSeconds);
  many.max_steps = trainings.steps_for(many, kSeconds);
  recorder.measure(name, "MB", [&] {
    const double of_one = peak_megabytes(trainings, alone);
    return (peak_megabytes(trainings, many) - of_one) / (kManyWorkers - 1);
  });
}

/// The shortest of growing trainings that ends with the goal reached. Each is one from the start, with its learning
/// rate's cosine over its own epochs: nothing is evaluated while the clock runs.
///
/// Sharing: one thread. Owns: nothing.
class TimeToAccuracy {
 public:
  TimeToAccuracy(Trainings& trainings, TrainerOptions options) : trainings_(trainings), options_(std::move(options)) {
    options_.schedule.kind = LrSchedule::Kind::cosine;
  }

  /// Empty when `kEpochsTried` were not enough. Each call takes another seed.
  std::optional<double> seconds() {
    ++options_.seed;
    // Not from 1 again: an epoch below the fewest that ever sufficed would be time lost.
    const std::int64_t first = epochs_.empty() ? 1 : std::max<std::int64_t>(std::ranges::min(epochs_) - 1, 1);
    for (options_.epochs = first; options_.epochs <= kEpochsTried; ++options_.epochs) {
      const TrainingOutcome outcome = trainings_.run(options_);
      if (outcome.accuracy < kGoal) continue;
      epochs_.push_back(options_.epochs);
      return outcome.seconds;
    }
    return {};
  }

  [[nodiscard]] const std::vector<std::int64_t>& epochs() const noexcept { return epochs_; }

 private:
  Trainings& trainings_;
  TrainerOptions options_;
  std::vector<std::int64_t> epochs_;
};

void measure_time_to_accuracy(Recorder& recorder, Trainings& trainings) {
  const std::string name = fmt::format("time to 88 %, {}", count(kManyWorkers, WorkersAs::processes));
  if (!recorder.wants(name)) return;
  TimeToAccuracy time(trainings, options_for(kManyWorkers));
  if (!time.seconds()) return recorder.note(fmt::format("{}: {} epochs are not enough", name, kEpochsTried));
  std::int64_t failures = 0;
  recorder.measure(name, "s", [&] {
    auto seconds = time.seconds();
    for (; !seconds; seconds = time.seconds()) ++failures;
    return *seconds;
  });
  const auto [least, most] = std::ranges::minmax(time.epochs());
  recorder.note(fmt::format("{}: after {} to {} epochs in {} searches{}", name, least, most, time.epochs().size(),
                            failures ? fmt::format("; {} more found none up to {}", failures, kEpochsTried) : ""));
}

}  // namespace

void bench_train(Recorder& recorder) {
  Trainings trainings(recorder);
  for (const int workers : {1, kManyWorkers}) measure_start(recorder, trainings, workers);
  measure_rates(recorder, trainings);
  measure_memory(recorder, trainings);
  measure_time_to_accuracy(recorder, trainings);
}

}  // namespace hogpen
