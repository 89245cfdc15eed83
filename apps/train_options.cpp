#include "apps/train_options.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/limits.h"

namespace hogpen {
namespace {

constexpr std::int64_t kMostSeconds = 365 * 86'400;
constexpr int kMostWorkers = 4096;
constexpr std::int64_t kMostEpochs = 1'000'000'000;
constexpr std::int64_t kMostInt = std::numeric_limits<int>::max();

CLI::Validator number_of_workers() {
  const auto check = [number = whole_number(1, kMostWorkers)](std::string& text) -> std::string {
    if (text != "auto") return number(text);
    text = "0";
    return "";
  };
  return CLI::Validator(check, "");
}

CLI::Validator device_name() {
  const auto check = [](const std::string& text) -> std::string {
    try {
      (void)gpus_named(text);
      return "";
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  return CLI::Validator(check, "");
}

/// Adds options with one line each.
///
/// Sharing: one thread. Owns: nothing.
class Group {
 public:
  Group(CLI::App& parser, std::string name) : parser_(parser), name_(std::move(name)) {}

  /// `value_name` is how --help calls the value.
  template <class T>
  CLI::Option& add(const std::string& names, T& value, const char* value_name, const CLI::Validator& check,
                   const std::string& help) {
    return *parser_.add_option(names, value, help)->type_name(value_name)->transform(check)->group(name_);
  }
  void add_flag(const std::string& names, bool& value, const std::string& help) {
    parser_.add_flag(names, value, help)->transform(true_or_false())->group(name_);
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  CLI::App& parser_;
  std::string name_;
};

void add_task_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "What to train");
  group.add("--model", a.model, "TEXT", any_text(),
            "Layers: Linear(in,out), Conv2d(in,out,kernel), MaxPool2d(kernel), Flatten, Dropout(p), "
            "Dropout2d(p), ReLU, Tanh, Sigmoid, GELU, LogSoftmax");
  group.add(
      "--data", a.data, "NAME|DIR", any_text(),
      "fashion-mnist, synthetic, synthetic:COUNT, a directory with the four IDX files of MNIST, or a table: .csv, "
      ".tsv (.gz), .parquet, .arrow; every fifth row is kept to test on");
  group.add("--label", a.label, "COLUMN", any_text(), "Of a table: the column to learn, of at most 256 classes");
  group.add("--features", a.features, "COLUMN,…", any_text(), "Of a table: columns of numbers; default: all others")
      .delimiter(',');
  group.add("--epochs", a.epochs, "N", whole_number(1, kMostEpochs), "Passes over the data by all workers together");
  group.add("--batch-size", a.batch_size, "N", whole_number(1), "Samples in each step of a worker");
  group.add("--seed", a.seed, "N", whole_number(0), "Of the initial parameters and the order of samples");
}

void add_worker_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "Workers");
  group
      .add("--workers,--nproc-per-node", a.workers, "N|auto", number_of_workers(),
           "How many train the one model; auto: as many as this process may use CPUs, or one for each GPU")
      .default_str("auto");
  group.add("--workers-as", a.workers_as, "KIND", one_of({"processes", "threads"}),
            "processes (one that dies is replaced) or threads");
  group.add("--mode", a.mode, "MODE", one_of({"hogwild", "atomic", "locked", "sync"}),
            "How updates meet: hogwild (no lock), atomic (none is lost), locked, or sync (averaged; repeatable)");
  group.add(
      "--device", a.device, "DEVICE", device_name(),
      "cpu; cuda or cuda:N (parameters and samples in that GPU's memory); cuda:N,M (a replica on each of these "
      "GPUs, averaged every few steps; in mode sync one worker on each); or auto: the first GPU that can be used, "
      "else CPUs, and says why. Not with mode locked");
  group.add("--engine", a.engine, "ENGINE", one_of({"auto", "fused", "autograd"}),
            "What computes a step: fused (own kernels, for models given as text), autograd (LibTorch, any model), or "
            "auto: fused where it can");
  group.add(
      "--replicas", a.replicas, "HOW", one_of({"one", "per-numa", "per-worker"}),
      "Copies of the parameters that workers train: one; or one for the workers of each NUMA node, or for each "
      "worker, merged into the model every few steps (modes hogwild and atomic). Each costs twice the parameters");
  group
      .add("--merge-every", a.merge_every, "STEPS", whole_number(1, kMostInt),
           "Of a worker between two merges of its replica: more is less contention and more staleness")
      .default_str(std::to_string(TrainerOptions().merge_every));
  group
      .add("--average-every", a.average_every, "STEPS", whole_number(1, kMostInt),
           "Of a worker between two averagings of the replicas of several GPUs (modes hogwild and atomic)")
      .default_str(std::to_string(TrainerOptions().average_every));
  group.add("--threads-per-worker", a.threads_per_worker, "N", whole_number(0, kMostWorkers),
            "Of LibTorch in each worker; 0 divides the CPUs among the workers. The fused engine uses one");
  group.add_flag("--pin-workers", a.pin_workers,
                 "Keep each worker on CPUs of its own, as many as it has threads; with -v, says which");
  group.add("--max-restarts", a.max_restarts, "N", whole_number(0, kMostInt),
            "A dead worker is replaced as long as it got somewhere: so often in a row may one die that makes no step "
            "before the run fails; 0 replaces none");
  group.add("--grace", a.grace_seconds, "SECONDS", real_number(0, kMostSeconds),
            "From asking workers to stop to killing them");
  group.add("--stall-timeout", a.stall_timeout_seconds, "SECONDS", real_number(0, kMostSeconds),
            "A worker that makes no step for so long is replaced; 0 waits forever");
}

void add_optimizer_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "Optimizer (defaults are those of torch.optim)");
  group.add("--optimizer", a.optimizer, "NAME", one_of({"sgd", "adam", "adamw", "adagrad", "rmsprop"}),
            "sgd, adam, adamw, adagrad or rmsprop");
  group.add("--momentum", a.momentum, "X", real_number(0), "For sgd and rmsprop");
  group.add("--dampening", a.dampening, "X", real_number(0), "For sgd");
  group.add_flag("--nesterov", a.nesterov, "For sgd");
  group.add("--weight-decay", a.weight_decay, "X", real_number(0), "L2 penalty; decoupled for adamw")
      .default_str("0; adamw 0.01");
  group.add("--beta1", a.beta1, "X", real_number(0, 1), "For adam and adamw").default_str("0.9");
  group.add("--beta2", a.beta2, "X", real_number(0, 1), "For adam and adamw").default_str("0.999");
  group.add("--alpha", a.alpha, "X", real_number(0, 1), "For rmsprop").default_str("0.99");
  group.add("--eps", a.eps, "X", real_number(0), "For all but sgd").default_str("1e-08; adagrad 1e-10");
  group.add("--optimizer-state", a.optimizer_state, "WHOSE", one_of({"private", "shared"}),
            "Momentum and the like: private to each worker, or one shared by all");
}

void add_rate_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "Learning rate");
  group.add("--lr", a.lr, "X", real_number(0), "Learning rate, after the warm-up")
      .default_str("sgd 0.1; adam, adamw 0.001; adagrad, rmsprop 0.01");
  group.add("--lr-schedule", a.lr_schedule, "KIND", one_of({"constant", "step", "cosine"}), "constant, step or cosine");
  group.add("--warmup-epochs", a.warmup_epochs, "X", real_number(0), "The rate rises linearly over these");
  group.add("--lr-step-epochs", a.lr_step_epochs, "X", real_number(0), "For step: epochs between two drops")
      .default_str("a third of the epochs");
  group.add("--lr-gamma", a.lr_gamma, "X", real_number(0), "For step: factor of each drop").default_str("0.1");
  group.add("--min-lr", a.min_lr, "X", real_number(0), "For cosine: the rate at the end").default_str("0");
}

void add_run_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "Evaluations, checkpoints and resuming");
  group.add("--eval-every", a.eval_every, "EPOCHS", whole_number(0), "0: at the end alone");
  group.add("--checkpoint-every", a.checkpoint_every, "EPOCHS", whole_number(0), "0: at the end alone");
  group.add("--keep", a.keep, "N", whole_number(0, kMostInt), "The newest checkpoints to keep; 0 keeps all");
  group.add("--checkpoint", a.checkpoint, "HOW", one_of({"paused", "fuzzy"}),
            "paused: workers wait at a step boundary for the snapshot; fuzzy: they do not");
  group.add("--on-nan", a.on_nan, "WHAT", one_of({"stop", "skip"}),
            "When the loss is NaN or infinite: stop the run, or skip the step (a hundred in a row stop it)");
  group.add("--run-dir", a.run_dir, "DIR", any_text(), "Where checkpoints and metrics go")
      .default_str("runs/YYYYMMDD-HHMMSS-PID");
  group.add(
      "--resume", a.resume, "auto|PATH", any_text(),
      "auto goes on from the newest checkpoint of --run-dir, or of the newest run in runs/, and starts afresh when "
      "there is none; PATH is a run directory to go on with, or a checkpoint to begin a new run from");
}

void add_talk_options(CLI::App& parser, TrainArguments& a) {
  Group group(parser, "Settings and output");
  group.add("--config", a.config, "FILE.toml", any_text(), "Values of options that are not given otherwise");
  group.add_flag("--json", a.json, "Print the result as one JSON object");
  group.add_flag("-q,--quiet", a.quiet, "Say nothing but warnings, errors and the result");
  parser.add_flag("-v,--verbose", a.verbose, "Say where each setting comes from; -vv: all that hogpen has to say")
      ->group(group.name());
}

double default_lr(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::sgd:
      return 0.1;
    case OptimizerKind::adam:
    case OptimizerKind::adamw:
      return 0.001;
    case OptimizerKind::adagrad:
    case OptimizerKind::rmsprop:
      return 0.01;
  }
  return 0.1;
}

/// Refuses an option that was given but has no effect: rather an error than a run that is not what it seems.
void refuse_unused(const char* option, bool is_given, bool is_used, const std::string& because) {
  if (is_given && !is_used) throw UsageError(fmt::format("{} has no effect with {}", option, because));
}

void refuse_unused_average(const TrainArguments& a, const TrainerOptions& options) {
  const bool is_sync = options.mode == UpdateMode::sync;
  refuse_unused("--average-every", a.average_every.has_value(), !is_sync && gpus_named(options.device).size() > 1,
                is_sync ? "--mode sync" : "--device " + options.device);
}

OptimizerOptions optimizer_options(const TrainArguments& a) {
  OptimizerOptions options = default_optimizer(a.optimizer);
  const bool is_sgd = a.optimizer == "sgd";
  const bool is_adam = a.optimizer == "adam" || a.optimizer == "adamw";
  const bool is_rmsprop = a.optimizer == "rmsprop";
  const std::string because = "--optimizer " + a.optimizer;
  refuse_unused("--momentum", a.momentum != 0.0, is_sgd || is_rmsprop, because);
  refuse_unused("--dampening", a.dampening != 0.0, is_sgd, because);
  refuse_unused("--nesterov", a.nesterov, is_sgd, because);
  refuse_unused("--beta1", a.beta1.has_value(), is_adam, because);
  refuse_unused("--beta2", a.beta2.has_value(), is_adam, because);
  refuse_unused("--alpha", a.alpha.has_value(), is_rmsprop, because);
  refuse_unused("--eps", a.eps.has_value(), !is_sgd, because);
  options.momentum = a.momentum;
  options.dampening = a.dampening;
  options.nesterov = a.nesterov;
  options.weight_decay = a.weight_decay.value_or(options.weight_decay);
  options.beta1 = a.beta1.value_or(options.beta1);
  options.beta2 = a.beta2.value_or(options.beta2);
  options.alpha = a.alpha.value_or(options.alpha);
  options.eps = a.eps.value_or(options.eps);
  options.state = a.optimizer_state == "shared" ? StateSharing::shared : StateSharing::private_;
  return options;
}

LrSchedule schedule(const TrainArguments& a, OptimizerKind optimizer, std::int64_t train_samples) {
  const std::string because = "--lr-schedule " + a.lr_schedule;
  refuse_unused("--lr-step-epochs", a.lr_step_epochs.has_value(), a.lr_schedule == "step", because);
  refuse_unused("--lr-gamma", a.lr_gamma.has_value(), a.lr_schedule == "step", because);
  refuse_unused("--min-lr", a.min_lr.has_value(), a.lr_schedule == "cosine", because);
  const std::int64_t batches_per_epoch = (train_samples - 1) / a.batch_size + 1;
  const double steps = static_cast<double>(batches_per_epoch * a.epochs);
  // Beyond the end of the run it makes no difference, but may overflow.
  const auto steps_in = [&](double epochs) {
    return std::llround(std::min(epochs * static_cast<double>(batches_per_epoch), steps));
  };
  LrSchedule schedule{.kind = lr_schedule_kind(a.lr_schedule), .base_lr = a.lr.value_or(default_lr(optimizer))};
  schedule.warmup_steps = steps_in(a.warmup_epochs);
  if (schedule.kind == LrSchedule::Kind::step) {
    const double step_epochs = a.lr_step_epochs.value_or(static_cast<double>(a.epochs) / 3.0);
    schedule.step_size = std::max<std::int64_t>(steps_in(step_epochs), 1);
  }
  schedule.gamma = a.lr_gamma.value_or(schedule.gamma);
  schedule.min_lr = a.min_lr.value_or(schedule.min_lr);
  return schedule;
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
}

}  // namespace

void add_train_options(CLI::App& parser, TrainArguments& arguments) {
  add_task_options(parser, arguments);
  add_worker_options(parser, arguments);
  add_optimizer_options(parser, arguments);
  add_rate_options(parser, arguments);
  add_run_options(parser, arguments);
  add_talk_options(parser, arguments);
}

TrainerOptions trainer_options(const TrainArguments& a, std::int64_t train_samples) {
  TrainerOptions options;
  options.launcher = {.workers = a.workers,
                      .workers_as = a.workers_as == "threads" ? WorkersAs::threads : WorkersAs::processes,
                      .max_restarts = a.max_restarts,
                      .threads_per_worker = a.threads_per_worker,
                      .pin_workers = a.pin_workers,
                      .grace = milliseconds(a.grace_seconds),
                      .stall_timeout = milliseconds(a.stall_timeout_seconds)};
  options.mode = update_mode(a.mode);
  options.engine = engine_named(a.engine);
  options.device = a.device;
  options.replicas = replicas_named(a.replicas);
  refuse_unused("--merge-every", a.merge_every.has_value(), options.replicas != Replicas::one, "--replicas one");
  options.merge_every = a.merge_every.value_or(options.merge_every);
  refuse_unused_average(a, options);
  options.average_every = a.average_every.value_or(options.average_every);
  options.epochs = a.epochs;
  options.batch_size = a.batch_size;
  options.optimizer = optimizer_options(a);
  options.schedule = schedule(a, options.optimizer.kind, train_samples);
  options.seed = a.seed;
  options.on_nan = a.on_nan == "skip" ? OnNan::skip : OnNan::stop;
  options.evaluate_every = a.eval_every;
  options.checkpoint_every = a.checkpoint_every;
  options.keep_checkpoints = a.keep;
  options.fuzzy_checkpoints = a.checkpoint == "fuzzy";
  options.data_name = a.data;
  return options;
}

}  // namespace hogpen
