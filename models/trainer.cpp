#include "models/trainer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/checkpoint.h"
#include "models/run_directory.h"
#include "models/train_device.h"
#include "models/train_memory.h"
#include "models/train_plan.h"
#include "models/train_record.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/memory/limits.h"
#include "runtime/process/stop_signals.h"

namespace hogpen {
namespace detail {

/// The launcher's end of the pipe on which the keeper reports evaluations.
class EvaluationPipe {
 public:
  EvaluationPipe() {
    int ends[2];
    syscall_ok(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
    read_ = Fd(ends[0]);
    write_ = Fd(ends[1]);
  }
  [[nodiscard]] int write_end() const noexcept { return write_.get(); }

  /// Calls `callback` for each evaluation that has come since, and keeps the last one in `last`.
  void read_all(std::optional<Evaluation>& last, const std::function<void(const Evaluation&)>& callback) {
    Evaluation evaluation;
    while (::read(read_.get(), &evaluation, sizeof(evaluation)) == sizeof(evaluation)) {
      last = evaluation;
      if (callback) callback(evaluation);
    }
  }

 private:
  Fd read_;
  Fd write_;
};

}  // namespace detail

namespace {

using namespace std::chrono_literals;
using detail::EvaluationPipe;
using detail::TrainPlan;

constexpr auto kTick = 100ms;
constexpr std::int64_t kMostEpochs = 1'000'000'000;  // times 2^32 samples is a number of batches that fits

std::int64_t numel(const Arena& arena) {
  std::int64_t sum = 0;
  for (const TensorEntry& entry : arena.header().entries) {
    if (!is_padding(entry)) sum += entry.spec.numel();
  }
  return sum;
}

/// Samples per second over the latest second or so.
class Speedometer {
 public:
  double update(std::uint64_t samples) {
    const auto now = Deadline::Clock::now();
    readings_.push_back({now, samples});
    while (readings_.size() > 2 && now - readings_[1].at >= 1s) readings_.pop_front();
    const double seconds = std::chrono::duration<double>(now - readings_.front().at).count();
    return seconds > 0 ? static_cast<double>(samples - readings_.front().samples) / seconds : 0.0;
  }

 private:
  struct Reading {
    Deadline::Clock::time_point at;
    std::uint64_t samples;
  };
  std::deque<Reading> readings_;
};

TrainProgress progress_of(const TrainPlan& plan, const ControlBlock& control, Speedometer& speedometer) {
  TrainProgress progress;
  progress.step = static_cast<std::int64_t>(control.header().cursor.load());
  progress.total_steps = static_cast<std::int64_t>(plan.total_batches);
  progress.batches_per_epoch = plan.batches_per_epoch;
  progress.samples = control.total_samples();
  progress.samples_per_second = speedometer.update(progress.samples);
  progress.loss = control.mean_loss();
  progress.lr = plan.options.schedule.at(progress.step);
  progress.workers = control.workers();
  for (int rank = 0; rank < progress.workers; ++rank) {
    const WorkerState state = control.slot(rank).state.load();
    progress.workers_running += state == WorkerState::running || state == WorkerState::paused;
  }
  return progress;
}

/// None where there was no step: then `end` is the beginning of all times.
double seconds_between(Deadline::Clock::time_point begin, Deadline::Clock::time_point end) {
  return std::max(std::chrono::duration<double>(end - begin).count(), 0.0);
}

void throw_if_diverged(const TrainPlan& plan) {
  const std::uint64_t at = plan.shared().diverged_at.load();
  if (at == 0) return;
  const auto checkpoint = latest_checkpoint(plan.options.run_directory);
  throw Error(fmt::format("the loss or a parameter became NaN or infinite at step {}; {}", at - 1,
                          checkpoint ? fmt::format("the last good checkpoint is {}", checkpoint->string())
                                     : "there is no checkpoint from before"),
              plan.options.on_nan == OnNan::skip ? "lower --lr: there were too many bad batches to skip"
                                                 : "lower --lr, or skip bad batches with --on-nan skip");
}

void say_where_samples_are(const TrainPlan& plan) {
  log(LogLevel::info, "the samples, {} MiB, stay in the host's memory: there is no room for them on {}",
      plan.data.train.samples().size_bytes() >> 20, device_of(plan.gpus));
}

void check_replicas(const TrainerOptions& options) {
  require(options.merge_every >= 1, "merge_every must be at least 1, but is {}", options.merge_every);
  require(options.average_every >= 1, "average_every must be at least 1, but is {}", options.average_every);
  if (options.replicas == Replicas::one) return;
  const std::string replicas = to_string(options.replicas);
  require(options.mode != UpdateMode::locked,
          "replicas {} do not go with mode locked: its lock makes all updates of one copy of the parameters take turns",
          replicas);
  require(options.mode != UpdateMode::sync,
          "replicas {} do not go with mode sync: its workers make each step together, on one copy of the parameters",
          replicas);
}

}  // namespace

struct Trainer::Settled {
  detail::TrainDevice device;
  detail::TrainMemory memory;
};

Trainer::Trainer(ModelFactory factory, std::string description, DatasetPair data, TrainerOptions options)
    : factory_(std::move(factory)),
      description_(std::move(description)),
      data_(std::move(data)),
      options_(std::move(options)) {
  require(options_.epochs >= 1 && options_.epochs <= kMostEpochs, "epochs must be 1 to {}, but is {}", kMostEpochs,
          options_.epochs);
  require(options_.evaluate_every >= 0, "evaluate_every must not be negative, but is {}", options_.evaluate_every);
  require(options_.checkpoint_every >= 0, "checkpoint_every must not be negative, but is {}",
          options_.checkpoint_every);
  require(!options_.step || options_.engine == Engine::automatic,
          "an own step leaves no engine to choose, but engine is {}", to_string(options_.engine));
  require(!options_.max_steps || *options_.max_steps >= 1, "max_steps must be at least 1, but is {}",
          options_.max_steps.value_or(0));
  options_.optimizer.check();
  check_replicas(options_);
  // A worker that died took its part of a synchronous step along: there is nothing to go on with but a checkpoint.
  if (options_.mode == UpdateMode::sync) options_.launcher.max_restarts = 0;
}

TrainResult Trainer::run() {
  const auto called = Deadline::Clock::now();
  detail::load_what_threads_need(options_);
  std::optional<StopSignals> signals;  // From now on, and not from the launch: one that comes earlier ends it at once.
  if (options_.launcher.handle_signals) signals.emplace();
  detail::RunDirectory directory(options_.run_directory, options_.resume);
  const std::int64_t per_epoch =
      EpochSampler(data_.train.size(), options_.batch_size, options_.seed).batches_per_epoch();
  const std::int64_t steps_of_epochs = per_epoch * options_.epochs;
  if (options_.schedule.total_steps == 0) options_.schedule.total_steps = steps_of_epochs;
  options_.schedule.check();
  const nlohmann::json record = options_.resume ? load_state(*options_.resume) : nlohmann::json::object();
  const std::uint64_t first_batch = detail::resume_from(record, description_, options_, per_epoch);
  auto [device, memory] = settle(record);
  EvaluationPipe evaluations;
  TrainPlan plan{.factory = factory_,
                 .description = description_,
                 .data = data_,
                 .normalization = data_.train.normalization(),
                 .options = options_,
                 .model = std::move(memory.model),
                 .optimizer_state = std::move(memory.optimizer_state),
                 .engine = memory.facts.engine,
                 .gpus = device.gpus,
                 .has_samples_on_gpus = device.has_room_for_samples,
                 .flat_numel = memory.facts.flat_numel,
                 .optimizer_copies = detail::optimizer_copies(options_),
                 .batches_per_epoch = per_epoch,
                 .first_batch = first_batch,
                 .total_batches = static_cast<std::uint64_t>(
                     std::min(steps_of_epochs, options_.max_steps.value_or(steps_of_epochs))),
                 .evaluations_fd = evaluations.write_end()};
  if (!plan.has_samples_on_gpus) say_where_samples_are(plan);
  if (!plan.gpus.empty()) open_shared_heap();  // before the fork: workers find GPU memory by it
  plan.share();
  plan.make_node_replicas();
  directory.show_live(plan.model.segment());
  const std::uint64_t huge_page_bytes =
      plan.model.segment().mapping()->use_huge_pages() + plan.optimizer_state.segment().mapping()->use_huge_pages();
  if (on_start_) {
    on_start_({.engine = plan.engine,
               .workers = options_.launcher.workers,
               .device = device_of(device.gpus),
               .why_no_gpu = device.reason,
               .parameters = numel(plan.model),
               .live_model = directory.live(),
               .huge_page_bytes = huge_page_bytes});
  }
  if (plan.has_nothing_to_train()) {
    log(LogLevel::warning,
        "{} has been trained for {:g} of {} epochs: nothing is left to train; a larger --epochs goes on",
        options_.resume->string(), static_cast<double>(first_batch) / static_cast<double>(per_epoch), options_.epochs);
  }
  TrainResult result = launch(plan, evaluations, called);
  result.why_no_gpu = device.reason;
  return result;
}

Trainer::Settled Trainer::settle(const nlohmann::json& record) {
  const std::size_t gpus = gpus_named(options_.device).size();
  const bool is_to_choose_workers = options_.launcher.workers == 0;
  const auto make_memory = [&] {
    return detail::make_train_memory(factory_, description_, data_.train, options_, record);
  };
  if (is_to_choose_workers) options_.launcher.workers = gpus == 0 ? usable_cpus() : static_cast<int>(gpus);
  detail::TrainMemory memory = make_memory();
  detail::TrainDevice device =
      detail::choose_device(options_, memory.facts.engine, detail::needs_of(options_, memory, data_.train.samples()));
  if (is_to_choose_workers && device.gpus.empty() && gpus > 0) {
    options_.launcher.workers = usable_cpus();
    memory = make_memory();
  }
  return {std::move(device), std::move(memory)};
}

TrainResult Trainer::launch(const detail::TrainPlan& plan, detail::EvaluationPipe& evaluations,
                            Deadline::Clock::time_point called) {
  Launcher launcher(options_.launcher);
  launcher.control().header().cursor.store(plan.first_batch);
  launcher.set_keeper([&plan](Worker& worker) { detail::keep(plan, worker); });
  if (plan.group) launcher.on_death([&plan](const WorkerExit&) { plan.group->abort(); });
  const auto release = [](const TrainPlan* ended) {
    if (!ended->gpus.empty()) detail::GpuTraining::release(ended->shared().gpus);
  };
  const std::unique_ptr<const TrainPlan, decltype(release)> gpu_memory(&plan, release);
  TrainResult result;
  result.engine = plan.engine;
  result.workers = options_.launcher.workers;
  result.device = device_of(plan.gpus);
  Speedometer speedometer;
  launcher.every(kTick, [&] {
    evaluations.read_all(result.evaluation, on_evaluation_);
    if (on_progress_) on_progress_(progress_of(plan, launcher.control(), speedometer));
  });
  const auto began = Deadline::Clock::now();
  result.launch = launcher.run([&plan](Worker& worker) { detail::train_worker(plan, worker); });
  evaluations.read_all(result.evaluation, on_evaluation_);
  throw_if_diverged(plan);
  const auto last_step = launcher.control().last_step();
  result.seconds = seconds_between(began, last_step);
  if (const auto first_step = launcher.control().first_step()) {
    result.seconds_to_first_step = seconds_between(called, *first_step);
    result.seconds_after_first_step = seconds_between(*first_step, last_step);
  }
  result.samples = launcher.control().total_samples();
  result.staleness = launcher.control().staleness();
  result.skipped_steps = launcher.control().total_skipped();
  result.checkpoint = latest_checkpoint(options_.run_directory);
  if (!result.checkpoint && plan.has_nothing_to_train()) result.checkpoint = options_.resume;
  if (!plan.shared().has_saved.load()) result.evaluation.reset();
  return result;
}

std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run_directory) {
  const std::filesystem::path checkpoints = run_directory / "checkpoints";
  if (!std::filesystem::exists(checkpoints)) return std::nullopt;
  return CheckpointStore(checkpoints, 0).latest();
}

}  // namespace hogpen
