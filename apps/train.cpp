#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/cli.h"
#include "apps/data.h"
#include "apps/output.h"
#include "apps/progress.h"
#include "apps/run_place.h"
#include "apps/settings.h"
#include "apps/text.h"
#include "apps/train_options.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTrainFooter = R"text(Examples:
  hogpen train                                            Fashion-MNIST, all CPUs
  hogpen train --nproc-per-node 4 --epochs 20 --lr-schedule cosine --warmup-epochs 1
  hogpen train --optimizer adam --model "Conv2d(1,8,3) ReLU MaxPool2d(2) Flatten Linear(1352,10)"
  hogpen train --run-dir runs/mine --resume auto          start, or go on after a stop or a crash
  HOGPEN_LR=0.05 hogpen train --config experiment.toml    settings from three places

Settings:
  A flag wins over an environment variable, which wins over the file, which wins over the default.
  Variables are named HOGPEN_ and the option: HOGPEN_BATCH_SIZE=128. A switch is turned off by false:
  --nesterov=false, HOGPEN_NESTEROV=false. The file is TOML; its keys are the options, if you like
  in a table [train]:
      batch_size = 128
      optimizer = "adam"
  A run that is resumed takes from its checkpoint what is given nowhere.

Ctrl-C (or SIGTERM) ends a run after its step and saves; a second one kills it, and what was learned since the
last checkpoint is lost.

Exit codes:
  0 done   1 failed   2 wrong usage, settings or data   3 a worker died and was not replaced
  4 the GPU of --device cannot be used   5 no progress within --stall-timeout
  130, 143 stopped by SIGINT, SIGTERM)text";

/// Short where that is as clear: below the working directory.
std::string shown(const fs::path& path) {
  const fs::path relative = path.lexically_proximate(fs::current_path());
  return *relative.begin() == ".." ? path.string() : relative.string();
}

void set_log_level(const TrainArguments& arguments) {
  hogpen::set_log_level(arguments.quiet ? LogLevel::warning : arguments.verbose > 1 ? LogLevel::debug : LogLevel::info);
}

void say_settings(const std::vector<Setting>& settings) {
  std::string text;
  for (const Setting& setting : settings) {
    text += fmt::format("  {} = {}  (from {})\n", setting.option, setting.value, setting.origin);
  }
  write_stderr(text.empty() ? "all settings are defaults\n" : "settings that are no defaults:\n" + text);
}

std::string replicas_of(const TrainerOptions& options) {
  if (options.replicas == Replicas::one) return "";
  return fmt::format(", replicas {}, merged every {} step{}", to_string(options.replicas), options.merge_every,
                     plural(options.merge_every));
}

void say_plan(const TrainArguments& arguments, const TrainerOptions& options, const DatasetPair& data) {
  std::string text = fmt::format("model    {}\n", arguments.model);
  text += fmt::format("data     {}: {} samples to train on, {} to test on\n", arguments.data,
                      with_separators(data.train.size()), with_separators(data.test.size()));
  text += fmt::format("training {} epoch{}, batches of {}, {}, learning rate {}{}\n", options.epochs,
                      plural(options.epochs), options.batch_size, arguments.optimizer, options.schedule.base_lr,
                      arguments.lr_schedule == "constant" ? "" : " (" + arguments.lr_schedule + ")");
  text += fmt::format("run      {}\n", options.run_directory.string());
  if (options.resume) text += fmt::format("resumes  {}\n", shown(*options.resume));
  write_stderr(text);
}

std::string how_to_go_on(const TrainerOptions& options) {
  return fmt::format("hogpen train --run-dir {} --resume auto", options.run_directory.string());
}

void say_end(const TrainResult& result, const TrainerOptions& options, bool is_verbose) {
  const double per_second = result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0.0;
  std::string text =
      fmt::format("{} samples in {:.1f} s: {} samples/s\n", with_separators(static_cast<std::int64_t>(result.samples)),
                  result.seconds, abbreviate(per_second));
  if (is_verbose) {
    text += fmt::format("staleness {:.2f} steps of other workers on average, {} at most\n", result.staleness.mean(),
                        result.staleness.max);
  }
  const auto restarts = static_cast<std::int64_t>(result.launch.deaths.size());
  if (restarts > 0) text += fmt::format("{} restart{}:\n", restarts, plural(restarts));
  for (const WorkerExit& death : result.launch.deaths) text += fmt::format("  {}\n", death.describe());
  if (result.skipped_steps > 0) text += fmt::format("{} steps skipped, their loss was NaN\n", result.skipped_steps);
  if (result.launch.stopped_by) {
    text += fmt::format("stopped by {}", signal_name(*result.launch.stopped_by));
    if (!result.evaluation) text += " and killed before saving";
    text += result.checkpoint ? fmt::format("; to go on: {}\n", how_to_go_on(options)) : "; nothing was saved\n";
  }
  write_stderr(text);
}

nlohmann::json to_json(const WorkerExit& death) {
  nlohmann::json json = {{"pid", death.pid}, {"message", death.message}};
  if (death.name.empty()) json["rank"] = death.rank;
  if (!death.name.empty()) json["name"] = death.name;
  if (death.signal) json["signal"] = signal_name(*death.signal);
  if (death.exit_code) json["exit_code"] = *death.exit_code;
  return json;
}

nlohmann::json to_json(const TrainResult& result, const TrainerOptions& options) {
  nlohmann::json restarts = nlohmann::json::array();
  for (const WorkerExit& death : result.launch.deaths) restarts.push_back(to_json(death));
  nlohmann::json json = {
      {"accuracy", nullptr},
      {"loss", nullptr},
      {"epoch", nullptr},
      {"step", nullptr},
      {"checkpoint", nullptr},
      {"run_dir", fs::absolute(options.run_directory).lexically_normal().string()},
      {"workers", result.workers},
      {"engine", to_string(result.engine)},
      {"device", result.device},
      {"why_no_gpu", nullptr},
      {"samples", result.samples},
      {"seconds", result.seconds},
      {"seconds_to_first_step", result.seconds_to_first_step},
      {"seconds_after_first_step", result.seconds_after_first_step},
      {"samples_per_second", result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0.0},
      {"staleness", {{"mean", result.staleness.mean()}, {"max", result.staleness.max}}},
      {"skipped_steps", result.skipped_steps},
      {"restarts", restarts},
      {"stopped_by", nullptr}};
  if (const auto& evaluation = result.evaluation) {
    json["accuracy"] = evaluation->accuracy;
    json["loss"] = evaluation->loss;
    json["epoch"] = evaluation->epoch;
    json["step"] = evaluation->step;
  }
  if (!result.why_no_gpu.empty()) json["why_no_gpu"] = result.why_no_gpu;
  if (result.checkpoint) json["checkpoint"] = result.checkpoint->string();
  if (result.launch.stopped_by) json["stopped_by"] = signal_name(*result.launch.stopped_by);
  return json;
}

std::string remedy_for(const WorkerExit& exit, const TrainerOptions& options) {
  std::string text;
  if (exit.signal == SIGKILL) text = "if nobody killed it, the kernel did, for want of memory: see hogpen info; ";
  text += latest_checkpoint(options.run_directory) ? fmt::format("to go on: {}", how_to_go_on(options))
                                                   : "there is no checkpoint yet to go on from";
  if (options.mode == UpdateMode::sync) return text + "; in the other modes a dead worker is replaced";
  return text + fmt::format("; --max-restarts, now {}, bounds how often one is replaced that makes no step",
                            options.launcher.max_restarts);
}

/// The engine's failure as the user sees it. What a child found wrong with the user's input is the user's to mend, not
/// a worker's death; and the keeper is no worker.
[[noreturn]] void rethrow(const WorkerError& error, const TrainerOptions& options) {
  const WorkerExit& exit = error.exit();
  if (exit.exit_code == 2) throw UsageError(exit.message, error.hint());
  if (!exit.name.empty() && exit.exit_code) {
    throw Error(fmt::format("the {}, which evaluates and saves, failed: {}", exit.name, exit.message), error.hint());
  }
  throw WorkerError(exit, remedy_for(exit, options));
}

/// A path in state.json must mean the same from everywhere.
std::string lasting_name(const std::string& data) {
  return fs::path(data).has_parent_path() || is_table(data) ? fs::absolute(data).lexically_normal().string() : data;
}

std::string placement_text(const TrainStart& start, const LauncherOptions& options) {
  const int threads = threads_of_worker(options);
  std::string text = fmt::format("placement {} thread{} a worker", threads, plural(threads));
  if (!options.pin_workers) text += ", on any CPU";
  constexpr int kMostShown = 8;
  for (int rank = 0; options.pin_workers && rank < std::min(options.workers, kMostShown); ++rank) {
    text += fmt::format(", worker {} on CPU {}", rank, fmt::join(cpus_of_worker(options, rank), "+"));
  }
  if (options.pin_workers && options.workers > kMostShown) text += ", and so on";
  return text + fmt::format("; {} KiB in huge pages\n", start.huge_page_bytes / 1024);
}

std::string averages_of(const TrainStart& start, const TrainerOptions& options) {
  if (options.mode == UpdateMode::sync || gpus_named(start.device).size() < 2) return "";
  return fmt::format(", replicas averaged every {} step{} of a worker", options.average_every,
                     plural(options.average_every));
}

std::string workers_text(const TrainStart& start, const TrainerOptions& options) {
  const bool are_threads = options.launcher.workers_as == WorkersAs::threads;
  return fmt::format("workers  {} {}{}, {}{}\n", start.workers, are_threads ? "thread" : "process",
                     start.workers == 1 ? "" : (are_threads ? "s" : "es"), to_string(options.mode),
                     replicas_of(options));
}

void say_start(const TrainStart& start, const TrainerOptions& options, int verbose) {
  std::string text = workers_text(start, options) + fmt::format("engine   {}\n", to_string(start.engine));
  if (start.device != "cpu") text += fmt::format("device   {}{}\n", start.device, averages_of(start, options));
  if (!start.why_no_gpu.empty()) text += fmt::format("device   CPUs: {}\n", start.why_no_gpu);
  text += fmt::format("memory   {} parameters in {}\n", with_separators(start.parameters), start.live_model.string());
  LauncherOptions launcher = options.launcher;
  launcher.workers = start.workers;
  if (verbose > 0) text += placement_text(start, launcher);
  write_stderr(text);
}

TrainResult run_trainer(const TrainArguments& arguments, const TrainerOptions& options, DatasetPair data) {
  ProgressView view({.epochs = options.epochs, .line = {.write = write_stderr}});
  Trainer trainer([text = arguments.model] { return parse_model(text); }, arguments.model, std::move(data), options);
  if (!arguments.quiet) {
    trainer.on_start([&](const TrainStart& start) { say_start(start, options, arguments.verbose); });
    trainer.on_progress([&](const TrainProgress& progress) { view.update(progress); });
    trainer.on_evaluation([&](const Evaluation& evaluation) { view.add(evaluation); });
  }
  try {
    return trainer.run();
  } catch (const WorkerError& error) {
    rethrow(error, options);
  } catch (TimeoutError& error) {
    error.add_hint("look at what the worker does, or raise --stall-timeout");
    throw;
  }
}

std::string closing_lines(const TrainResult& result) {
  std::string text;
  if (result.evaluation) text += fmt::format("accuracy {:.2f} %\n", 100.0 * result.evaluation->accuracy);
  if (result.checkpoint) text += fmt::format("checkpoint {}\n", shown(*result.checkpoint));
  return text;
}

int train(const TrainArguments& arguments, const RunPlace& place, const std::vector<Setting>& settings) {
  NamedData named = open_named_data({.name = arguments.data,
                                     .features = arguments.features,
                                     .label = arguments.label,
                                     .record = place.checkpoint ? data_record_of(*place.checkpoint) : ""});
  DatasetPair& data = named.data;
  TrainerOptions options = trainer_options(arguments, data.train.size());
  options.data_record = std::move(named.record);
  options.data_name = lasting_name(arguments.data);
  options.settings = settings_to_record(settings);
  options.run_directory = place.directory;
  options.resume = place.checkpoint;
  if (!arguments.quiet) say_plan(arguments, options, data);
  const TrainResult result = run_trainer(arguments, options, std::move(data));
  if (!arguments.quiet) say_end(result, options, arguments.verbose > 0);
  write_stdout(arguments.json ? to_json(result, options).dump() + "\n" : closing_lines(result));
  return result.launch.stopped_by ? 128 + *result.launch.stopped_by : 0;
}

}  // namespace

Command add_train(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("train", "Train a model with several workers on shared parameters");
  const auto arguments = std::make_shared<TrainArguments>();
  add_train_options(*parser, *arguments);
  parser->footer(kTrainFooter);
  return {parser, [&program, parser, arguments](const Arguments& command_line) {
            RunPlace place;
            const auto settings_to_resume = [&](const std::vector<Setting>& given) {
              set_log_level(*arguments);
              place = choose_run_place(arguments->run_dir, arguments->resume);
              return place.checkpoint ? recorded_settings(*place.checkpoint, given) : std::vector<Setting>();
            };
            const auto settings = apply_settings(program, *parser, command_line, settings_to_resume);
            if (arguments->verbose > 0 && !arguments->quiet) say_settings(settings);
            return train(*arguments, place, settings);
          }};
}

}  // namespace hogpen
