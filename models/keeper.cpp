#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "models/checkpoint.h"
#include "models/metrics.h"
#include "models/replica_average.h"
#include "models/train_plan.h"
#include "models/train_record.h"
#include "models/train_step.h"
#include "runtime/core/log.h"

namespace hogpen::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookUp = 10ms;       // how often the keeper looks whether there is something to do
constexpr auto kLogPeriod = 1s;      // between two lines of metrics
constexpr auto kPauseDeadline = 5s;  // for all workers to reach a step boundary

std::string advice(const Error& error) {
  return error.hint().empty() ? "" : fmt::format(" (hint: {})", error.hint());
}

/// None where there are not several GPUs: NCCL may not be there then.
std::optional<NcclThreads> group_of_gpus(const TrainPlan& plan) {
  if (plan.gpus.size() < 2) return {};
  return std::optional<NcclThreads>(std::in_place, plan.gpus);
}

class Keeper {
 public:
  Keeper(const TrainPlan& plan, Worker& worker)
      : plan_(plan),
        worker_(worker),
        control_(worker.control()),
        group_(group_of_gpus(plan)),
        gpus_(GpuTraining::make(plan, group_ ? &*group_ : nullptr)),
        model_(plan.factory(), plan.model),
        checkpoints_(plan.options.run_directory / "checkpoints", plan.options.keep_checkpoints),
        metrics_(plan.options.run_directory),
        logged_at_(Deadline::Clock::now()) {
    if (plan.options.mode == UpdateMode::sync) group_.reset();  // The workers have one of their own.
    if (group_) average_.emplace(plan, control_, model_, gpus_, *group_);
  }

  void run() {
    // A keeper that replaces a dead one goes on with the next epoch.
    evaluated_epoch_ = saved_epoch_ = epoch();
    while (!worker_.workers_are_done()) {
      std::this_thread::sleep_for(kLookUp);
      worker_.step_done(0, 0.0);  // It gets somewhere: see LauncherOptions.
      if (average_) average_->check();
      if (is_due(plan_.options.evaluate_every, evaluated_epoch_)) evaluate_now();
      if (is_due(plan_.options.checkpoint_every, saved_epoch_)) checkpoint_while_training();
      if (Deadline::Clock::now() - logged_at_ >= kLogPeriod) log_metrics();
    }
    if (plan_.shared().diverged_at.load() != 0) return;
    if (!plan_.has_nothing_to_train()) log_metrics();
    if (!evaluation_ || evaluation_->step != step()) evaluate_now();
    if (!plan_.has_nothing_to_train()) save_at_the_end();
    plan_.shared().has_saved.store(1);
  }

 private:
  [[nodiscard]] std::int64_t step() const { return static_cast<std::int64_t>(control_.header().cursor.load()); }
  [[nodiscard]] std::int64_t epoch() const { return step() / plan_.batches_per_epoch; }

  // The last epoch's is done at the end.
  bool is_due(std::int64_t every, std::int64_t& last_epoch) const {
    const std::int64_t now = epoch();
    if (every == 0 || now / every == last_epoch / every || now >= plan_.options.epochs) return false;
    last_epoch = now;
    return true;
  }

  void copy_model_from_gpus() {
    if (average_) average_->average();
    copy(gpus_[0].model, plan_.model);
  }

  void evaluate_now() {
    const std::int64_t at = step();
    if (!gpus_.empty()) copy_model_from_gpus();
    const Score score = evaluate(model_, plan_.data.test, plan_.normalization);
    evaluation_ = {.step = at,
                   .epoch = static_cast<double>(at) / static_cast<double>(plan_.batches_per_epoch),
                   .loss = score.loss,
                   .accuracy = score.accuracy};
    if (!plan_.has_nothing_to_train()) {
      add_metrics(at, {{"test/loss", score.loss}, {"test/accuracy", score.accuracy}});
    }
    // Smaller than PIPE_BUF, so whole or not at all; a full pipe only means that nobody looks.
    [[maybe_unused]] const auto written = ::write(plan_.evaluations_fd, &*evaluation_, sizeof(Evaluation));
  }

  void log_metrics() {
    const auto now = Deadline::Clock::now();
    const std::uint64_t samples = control_.total_samples();
    const double seconds = std::chrono::duration<double>(now - logged_at_).count();
    const Staleness staleness = control_.staleness();
    const Staleness since{.steps = staleness.steps - logged_staleness_.steps,
                          .sum = staleness.sum - logged_staleness_.sum};
    add_metrics(step(), {{"train/loss", control_.mean_loss()},
                         {"train/lr", plan_.options.schedule.at(step())},
                         {"train/samples_per_second", static_cast<double>(samples - logged_samples_) / seconds},
                         {"train/staleness", since.mean()},
                         {"train/staleness_max", static_cast<double>(staleness.max)}});
    logged_at_ = now;
    logged_samples_ = samples;
    logged_staleness_ = staleness;
  }

  void add_metrics(std::int64_t at, const std::vector<std::pair<std::string, double>>& scalars) {
    try {
      metrics_.add(at, scalars);
    } catch (const SystemError& error) {
      if (std::exchange(metrics_are_lost_, true)) return;
      log(LogLevel::warning, "metrics are being lost: {}; training goes on{}", error.what(), advice(error));
    }
  }

  // A full disk in the middle of a week's training is no reason to lose the rest of it.
  void checkpoint_while_training() {
    try {
      if (!plan_.options.fuzzy_checkpoints && !control_.pause_workers(Deadline::after(kPauseDeadline))) {
        log(LogLevel::warning,
            "a worker did not come to a step boundary within {} s: the checkpoint is taken while it runs",
            std::chrono::seconds(kPauseDeadline).count());
      }
      save(step());
    } catch (const UsageError& error) {
      on_bad_parameters(error);
    } catch (const Error& error) {
      log(LogLevel::warning, "no checkpoint was written: {}; training goes on{}", error.what(), advice(error));
    }
    control_.resume_workers();
  }

  void on_bad_parameters(const UsageError& error) {
    log(LogLevel::warning, "no checkpoint was written: {}", error.what());
    if (plan_.options.on_nan == OnNan::skip) return;
    diverge();
    worker_.stop_all();
  }

  void diverge() { plan_.shared().diverged_at.store(static_cast<std::uint64_t>(step()) + 1); }

  void save_at_the_end() {
    try {
      save(step());
    } catch (const UsageError& error) {
      log(LogLevel::warning, "no checkpoint was written: {}", error.what());
      diverge();
    }
  }

  void save(std::int64_t at) {
    if (!gpus_.empty()) {
      copy_model_from_gpus();
      copy_optimizer_state(gpus_, plan_.optimizer_state);
    }
    const auto bytes = [](const Arena& arena) {
      const auto all = arena.segment().bytes();
      return Snapshot(all.begin(), all.end());
    };
    CheckpointContent content{.step = at,
                              .model = bytes(plan_.model),
                              .optimizer = bytes(plan_.optimizer_state),
                              .state_json = make_record(plan_, at, evaluation_).dump(2)};
    control_.resume_workers();  // The copies are made; writing them needs no pause.
    checkpoints_.save(content);
  }

  const TrainPlan& plan_;
  Worker& worker_;
  ControlBlock& control_;
  std::optional<NcclThreads> group_;
  std::vector<GpuTraining> gpus_;
  SharedModel model_;  // on the host: what lies on a GPU is copied there to be evaluated and saved
  std::optional<ReplicaAverage> average_;
  CheckpointStore checkpoints_;
  MetricsLog metrics_;
  std::int64_t evaluated_epoch_ = 0;
  std::int64_t saved_epoch_ = 0;
  std::optional<Evaluation> evaluation_;
  Deadline::Clock::time_point logged_at_;
  std::uint64_t logged_samples_ = 0;
  Staleness logged_staleness_;
  bool metrics_are_lost_ = false;
};

}  // namespace

void keep(const TrainPlan& plan, Worker& worker) {
  // Until then the CPUs are better used by the workers, which make their models; on a GPU they wait for the keeper.
  if (plan.gpus.empty()) worker.wait_for_others();
  Keeper(plan, worker).run();
}

}  // namespace hogpen::detail
