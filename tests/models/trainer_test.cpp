#include "models/trainer.h"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/module.h>
#include <torch/optim.h>
#include <torch/utils.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "models/checkpoint.h"
#include "models/sampler.h"
#include "models/shared_model.h"
#include "runtime/process/process.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr const char* kText = "Linear(64,16) Tanh Linear(16,4)";

// Long enough for the launcher to look at it now and then; a sanitizer makes it some ten times as long.
#if defined(__SANITIZE_ADDRESS__)
constexpr unsigned kEpochsOfALongRun = 400;
#else
constexpr unsigned kEpochsOfALongRun = 4000;
#endif

DatasetPair small_data() {
  return {Dataset::synthetic(1000, 8, 8, 4, 1), Dataset::synthetic(400, 8, 8, 4, 2)};
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    at::set_num_threads(1);  // The tests fork: no parallel region may have run here.
    std::string pattern = (fs::temp_directory_path() / "hogpen-trainer-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~TrainerTest() override {
    fs::remove_all(directory_);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  }

  [[nodiscard]] TrainerOptions options(const std::string& run = "run") const {
    TrainerOptions some;
    some.launcher = {.workers = 1, .threads_per_worker = 1};
    some.epochs = 3;
    some.batch_size = 32;
    some.run_directory = directory_ / run;
    return some;
  }

  static Trainer trainer(const TrainerOptions& some, ModelFactory factory = [] { return parse_model(kText); }) {
    return Trainer(std::move(factory), kText, small_data(), some);
  }

  /// The parameters of a checkpoint, by name.
  static std::vector<at::Tensor> parameters_of(const fs::path& checkpoint) {
    Model model = parse_model(kText);
    const Arena arena = share_memory(*model.module);
    load_safetensors(model_file(checkpoint), arena);
    std::vector<at::Tensor> all;
    for (const char* name : {"0.weight", "0.bias", "2.weight", "2.bias"}) all.push_back(arena.tensor(name).clone());
    return all;
  }

  fs::path directory_;
};

void expect_close(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_LE((a[i] - b[i]).abs().max().item<double>(), tolerance) << "parameter " << i;
  }
}

/// One process, LibTorch alone, the same order of samples; `per_step` batches make one step.
template <class MakeOptimizer>
std::vector<at::Tensor> train_alone(const TrainerOptions& options, MakeOptimizer make_optimizer, int per_step = 1) {
  const DatasetPair data = small_data();
  const auto& normalization = data.train.normalization();
  at::Tensor images = at::empty({data.train.size(), data.train.sample_numel()});
  at::Tensor labels = at::empty({data.train.size()}, at::kLong);
  for (std::int64_t i = 0; i < data.train.size(); ++i) {
    for (std::int64_t p = 0; p < data.train.sample_numel(); ++p) {
      const double pixel = data.train.image(i)[static_cast<std::size_t>(p)] / 255.0;
      images.data_ptr<float>()[i * data.train.sample_numel() + p] =
          static_cast<float>((pixel - normalization.mean) / normalization.stddev);
    }
    labels.data_ptr<std::int64_t>()[i] = data.train.label(i);
  }
  torch::manual_seed(options.seed);
  Model model = parse_model(kText);
  auto optimizer = make_optimizer(model.module->parameters());
  EpochSampler sampler(data.train.size(), options.batch_size, options.seed);
  const std::int64_t batches = sampler.batches_per_epoch() * options.epochs;
  for (std::int64_t first = 0; first < batches; first += per_step) {
    std::vector<std::int64_t> samples;
    for (std::int64_t batch = first; batch < std::min(first + per_step, batches); ++batch) {
      for (const std::uint32_t sample : sampler.batch(static_cast<std::uint64_t>(batch))) samples.push_back(sample);
    }
    const at::Tensor index = torch::tensor(samples);
    optimizer.zero_grad();
    torch::nn::functional::cross_entropy(model.forward(images.index_select(0, index)), labels.index_select(0, index))
        .backward();
    optimizer.step();
  }
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& parameter : model.module->parameters()) parameters.push_back(parameter.detach());
  return parameters;
}

using Parameters = std::vector<at::Tensor>;

TEST_F(TrainerTest, OneWorkerWithSgdEqualsALoopOfLibTorch) {
  const TrainResult result = trainer(options()).run();
  expect_close(parameters_of(*result.checkpoint),
               train_alone(options(), [](Parameters p) { return torch::optim::SGD(p, torch::optim::SGDOptions(0.1)); }),
               1e-5);
}

TEST_F(TrainerTest, OneWorkerWithMomentumAndWeightDecayEqualsALoopOfLibTorch) {
  TrainerOptions some = options();
  some.optimizer.momentum = 0.9;
  some.optimizer.weight_decay = 1e-3;
  some.schedule.base_lr = 0.05;
  const TrainResult result = trainer(some).run();
  expect_close(parameters_of(*result.checkpoint),
               train_alone(some,
                           [](Parameters p) {
                             return torch::optim::SGD(p,
                                                      torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(1e-3));
                           }),
               1e-5);
}

TEST_F(TrainerTest, OneWorkerWithEachAdaptiveOptimizerEqualsALoopOfLibTorch) {
  const auto check = [&](const std::string& name, auto make) {
    SCOPED_TRACE(name);
    TrainerOptions some = options(name);
    some.optimizer = default_optimizer(name);
    some.schedule.base_lr = 0.01;
    // Adaptive steps divide by roots of small numbers, which magnifies a rounding difference.
    expect_close(parameters_of(trainer(some).run().checkpoint.value()), train_alone(some, make), 2e-4);
  };
  check("adam", [](Parameters p) { return torch::optim::Adam(p, torch::optim::AdamOptions(0.01)); });
  check("adamw", [](Parameters p) { return torch::optim::AdamW(p, torch::optim::AdamWOptions(0.01)); });
  check("adagrad", [](Parameters p) { return torch::optim::Adagrad(p, torch::optim::AdagradOptions(0.01)); });
  check("rmsprop", [](Parameters p) { return torch::optim::RMSprop(p, torch::optim::RMSpropOptions(0.01)); });
}

TEST_F(TrainerTest, SynchronousWorkersEqualOneWithTheirBatchesJoined) {
  for (const int workers : {2, 3}) {
    TrainerOptions some = options(std::to_string(workers));
    some.launcher.workers = workers;
    some.mode = UpdateMode::sync;
    const TrainResult result = trainer(some).run();
    expect_close(parameters_of(*result.checkpoint),
                 train_alone(
                     some, [](Parameters p) { return torch::optim::SGD(p, torch::optim::SGDOptions(0.1)); }, workers),
                 1e-5);
  }
}

TEST_F(TrainerTest, SynchronousTrainingIsRepeatableToTheBit) {
  std::vector<at::Tensor> first;
  for (const char* run : {"a", "b"}) {
    TrainerOptions some = options(run);
    some.launcher.workers = 3;
    some.mode = UpdateMode::sync;
    some.optimizer = default_optimizer("adam");
    some.schedule.base_lr = 0.01;
    const auto parameters = parameters_of(trainer(some).run().checkpoint.value());
    if (first.empty()) first = parameters;
    expect_close(first, parameters, 0.0);
  }
}

class TrainerModes : public TrainerTest, public ::testing::WithParamInterface<std::tuple<UpdateMode, WorkersAs>> {};

TEST_P(TrainerModes, SeveralWorkersDoEachEpochOnceTogetherAndLearn) {
  const auto [mode, workers_as] = GetParam();
  TrainerOptions some = options();
  some.mode = mode;
  some.launcher.workers = 3;
  some.launcher.workers_as = workers_as;
  some.epochs = 5;
  std::vector<Evaluation> evaluations;
  Trainer training = trainer(some);
  training.on_evaluation([&](const Evaluation& evaluation) { evaluations.push_back(evaluation); });
  const TrainResult result = training.run();
  EXPECT_EQ(result.samples, 5u * 1000u);
  EXPECT_EQ(result.evaluation->step, 5 * 32);
  EXPECT_GT(result.evaluation->accuracy, 0.9);
  EXPECT_TRUE(result.launch.deaths.empty());
  ASSERT_FALSE(evaluations.empty());
  EXPECT_EQ(evaluations.back().accuracy, result.evaluation->accuracy);
}

INSTANTIATE_TEST_SUITE_P(All, TrainerModes,
                         ::testing::Combine(::testing::Values(UpdateMode::hogwild, UpdateMode::atomic,
                                                              UpdateMode::locked, UpdateMode::sync),
                                            ::testing::Values(WorkersAs::processes, WorkersAs::threads)),
                         [](const auto& parameters) {
                           return to_string(std::get<0>(parameters.param)) +
                                  (std::get<1>(parameters.param) == WorkersAs::processes ? "_processes" : "_threads");
                         });

TEST_F(TrainerTest, AResumedRunEndsWhereAnUninterruptedOneDoes) {
  TrainerOptions whole = options("whole");
  whole.optimizer = default_optimizer("adam");
  whole.schedule.base_lr = 0.01;
  whole.epochs = 4;
  const auto expected = parameters_of(trainer(whole).run().checkpoint.value());

  TrainerOptions part = whole;
  part.run_directory = directory_ / "parts";
  part.epochs = 2;
  const TrainResult half = trainer(part).run();
  part.epochs = 4;
  part.resume = half.checkpoint;
  const TrainResult rest = trainer(part).run();
  EXPECT_EQ(rest.samples, 2u * 1000u);
  expect_close(expected, parameters_of(*rest.checkpoint), 0.0);
}

TEST_F(TrainerTest, AResumedRunMayHaveAnotherNumberOfWorkers) {
  TrainerOptions some = options();
  some.optimizer.momentum = 0.9;
  some.schedule.base_lr = 0.01;
  some.launcher.workers = 2;
  const TrainResult first = trainer(some).run();
  some.launcher.workers = 3;
  some.epochs = 5;
  some.resume = first.checkpoint;
  const TrainResult second = trainer(some).run();
  EXPECT_EQ(second.samples, 2u * 1000u);
  EXPECT_GE(second.evaluation->accuracy, first.evaluation->accuracy - 0.05);
}

TEST_F(TrainerTest, ResumingWithAnotherModelOrOptimizerIsRefused) {
  const TrainResult first = trainer(options()).run();
  TrainerOptions other = options("other");
  other.resume = first.checkpoint;
  other.optimizer = default_optimizer("adam");
  EXPECT_THROW(trainer(other).run(), UsageError);
  other.optimizer = default_optimizer("sgd");
  const std::string text = "Linear(64,8) Tanh Linear(8,4)";
  EXPECT_THROW(Trainer([text] { return parse_model(text); }, text, small_data(), other).run(), UsageError);
}

TEST_F(TrainerTest, ARunThatHasAllItsEpochsSavesNothingAndIsEvaluated) {
  for (const UpdateMode mode : {UpdateMode::hogwild, UpdateMode::sync}) {
    TrainerOptions some = options(to_string(mode));
    some.mode = mode;
    some.checkpoint_every = 0;
    const TrainResult first = trainer(some).run();
    some.resume = first.checkpoint;
    some.epochs = 1;
    const TrainResult again = trainer(some).run();
    EXPECT_EQ(again.samples, 0u);
    EXPECT_EQ(again.checkpoint, first.checkpoint);
    EXPECT_EQ(again.evaluation.value().step, 3 * 32) << "of the checkpoint, and not of epoch 1";
    EXPECT_EQ(again.evaluation->accuracy, first.evaluation.value().accuracy);
    EXPECT_FALSE(fs::exists(some.run_directory / "checkpoints" / "step-32"));
  }
}

TEST_F(TrainerTest, MaxStepsEndTheRunBeforeItsEpochsDo) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.schedule.kind = LrSchedule::Kind::cosine;
  some.max_steps = 40;  // of 96, in batches of 32 of 1000 samples
  TrainResult result = trainer(some).run();
  EXPECT_EQ(result.evaluation.value().step, 40);
  EXPECT_EQ(result.samples, 40u * 32u - 24u);  // the last batch of the first epoch has 8
  some.max_steps = 0;
  EXPECT_THROW(trainer(some), UsageError);
}

TEST_F(TrainerTest, TheTimeToTheFirstStepHasTheMakingOfTheModelInIt) {
  const auto slow_factory = [] {
    std::this_thread::sleep_for(30ms);
    return parse_model(kText);
  };
  const TrainResult result = trainer(options(), slow_factory).run();
  EXPECT_GE(result.seconds_to_first_step, 0.06);  // once for the initial parameters, once in the worker
  EXPECT_GE(result.seconds, 0.03);
  EXPECT_GT(result.seconds_after_first_step, 0.0);
  EXPECT_LT(result.seconds_after_first_step, result.seconds);
}

TEST_F(TrainerTest, ABatchOfMoreThanAllSamplesIsAllSamples) {
  TrainerOptions some = options();
  some.batch_size = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(trainer(some).run().samples, 3u * 1000u);
}

TEST_F(TrainerTest, ARunDirectoryWithCheckpointsIsNotMixedWithAnotherRun) {
  (void)trainer(options()).run();
  EXPECT_THROW(trainer(options()).run(), UsageError);
}

TEST_F(TrainerTest, KilledWorkersAreReplacedAndTheModelStillLearns) {
  for (const Replicas replicas : {Replicas::one, Replicas::per_worker}) {
    SCOPED_TRACE(to_string(replicas));
    TrainerOptions some = options(to_string(replicas));
    some.launcher.workers = 4;
    some.replicas = replicas;
    some.epochs = kEpochsOfALongRun;
    some.evaluate_every = some.checkpoint_every = 0;
    Trainer training = trainer(some);
    int kills = 0;
    training.on_progress([&](const TrainProgress&) {
      // Find a worker by its name among our children; any will do.
      std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
      std::vector<int> workers;
      for (int pid = 0; children >> pid;) {
        std::string name;
        std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
        if (name.starts_with("hogpen-") && name != "hogpen-keeper") workers.push_back(pid);
      }
      if (!workers.empty() && ::kill(workers[static_cast<std::size_t>(kills) % workers.size()], SIGKILL) == 0) ++kills;
    });
    const TrainResult result = training.run();
    EXPECT_GT(kills, 0);
    EXPECT_FALSE(result.launch.deaths.empty());
    EXPECT_GT(result.evaluation->accuracy, 0.9);
    EXPECT_GE(result.samples + 32 * result.launch.deaths.size(), kEpochsOfALongRun * 1000u)
        << "a death costs one batch";
  }
}

TEST_F(TrainerTest, TheLiveModelCanBeReadByAnotherProcess) {
  TrainerOptions some = options();
  some.epochs = kEpochsOfALongRun;
  some.evaluate_every = some.checkpoint_every = 0;
  Trainer training = trainer(some);
  const fs::path live = some.run_directory / "live.safetensors";
  int looks = 0;
  training.on_progress([&](const TrainProgress&) {
    Fd fd(::open(live.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(fd) << live;
    const Arena arena = Arena::attach(Segment::attach(std::move(fd), Segment::Access::read_only));
    EXPECT_EQ(arena.tensor("0.weight").sizes(), (std::vector<std::int64_t>{16, 64}));
    ++looks;
  });
  (void)training.run();
  EXPECT_GT(looks, 0);
  EXPECT_FALSE(fs::exists(fs::symlink_status(live))) << "it goes with the run";
}

TEST_F(TrainerTest, ASignalSavesACheckpointAndIsReported) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.epochs = 1'000'000;
  some.batch_size = 25;  // divides the data: all batches are alike
  some.evaluate_every = some.checkpoint_every = 0;
  Trainer training = trainer(some);
  bool sent = false;
  training.on_progress([&](const TrainProgress& progress) {
    if (!sent && progress.step > 0) sent = ::kill(::getpid(), SIGTERM) == 0;
  });
  const TrainResult result = training.run();
  EXPECT_EQ(result.launch.stopped_by, SIGTERM);
  EXPECT_EQ(load_state(result.checkpoint.value()).at("step").get<std::uint64_t>() * 25, result.samples)
      << "no claimed batch was given up";
}

/// A model whose output is NaN while `is_bad` says so.
ModelFactory sometimes_nan(std::function<bool()> is_bad) {
  return [is_bad] {
    Model model = parse_model(kText);
    model.forward = [inner = model.forward, module = model.module, is_bad](const at::Tensor& input) {
      const at::Tensor output = inner(input);
      return module->is_training() && input.size(0) > 1 && is_bad() ? output * std::numeric_limits<float>::quiet_NaN()
                                                                    : output;
    };
    return model;
  };
}

TEST_F(TrainerTest, ANanLossStopsTheRunAndKeepsTheLastGoodCheckpoint) {
  TrainerOptions some = options();
  some.epochs = 50;
  int batches = 0;
  try {
    (void)trainer(some, sometimes_nan([batches]() mutable { return ++batches > 1000; })).run();
    FAIL() << "it did not throw";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the loss or a parameter became NaN or infinite at step 1000"),
              std::string::npos)
        << error.what();
  }
  const auto checkpoint = latest_checkpoint(some.run_directory);
  ASSERT_TRUE(checkpoint.has_value());
  for (const at::Tensor& parameter : parameters_of(*checkpoint)) EXPECT_TRUE(parameter.isfinite().all().item<bool>());
}

TEST_F(TrainerTest, ANanLossCanBeSkipped) {
  TrainerOptions some = options();
  some.on_nan = OnNan::skip;
  const TrainResult result = trainer(some, sometimes_nan([n = 0]() mutable { return ++n % 10 == 0; })).run();
  EXPECT_EQ(result.skipped_steps, 9u) << "every tenth of 96 batches";
  EXPECT_GT(result.evaluation->accuracy, 0.8);
}

TEST_F(TrainerTest, AHundredSkippedStepsInARowEndTheRun) {
  TrainerOptions some = options();
  some.epochs = 20;
  some.on_nan = OnNan::skip;
  EXPECT_THROW(trainer(some, sometimes_nan([] { return true; })).run(), Error);
}

TEST_F(TrainerTest, AWorkerThatAlwaysThrowsEndsTheRunWithItsMessage) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.launcher.max_restarts = 2;
  const ModelFactory factory = [] {
    Model model = parse_model(kText);
    model.forward = [inner = model.forward, module = model.module](const at::Tensor& input) {
      if (module->is_training() && input.size(0) > 1) throw std::runtime_error("the trough is empty");
      return inner(input);
    };
    return model;
  };
  try {
    (void)trainer(some, factory).run();
    FAIL() << "it did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().message, "the trough is empty");
  }
}

TEST_F(TrainerTest, ADeathInSynchronousModeEndsTheRun) {
  TrainerOptions some = options();
  some.launcher.workers = 3;
  some.mode = UpdateMode::sync;
  const ModelFactory factory = [] {
    Model model = parse_model(kText);
    model.forward = [inner = model.forward, module = model.module, n = 0](const at::Tensor& input) mutable {
      std::string name;
      std::getline(std::ifstream("/proc/self/comm"), name);
      if (name == "hogpen-1" && ++n == 5) ::raise(SIGKILL);
      return inner(input);
    };
    return model;
  };
  try {
    (void)trainer(some, factory).run();
    FAIL() << "it did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 1);
    EXPECT_EQ(error.exit().signal, SIGKILL);
  }
}

class TrainerForms : public TrainerTest, public ::testing::WithParamInterface<WorkersAs> {
 protected:
  [[nodiscard]] TrainerOptions with_replicas(const std::string& run, int workers, int merge_every) const {
    TrainerOptions some = options(run);
    some.launcher.workers = workers;
    some.launcher.workers_as = GetParam();
    some.replicas = Replicas::per_worker;
    some.merge_every = merge_every;
    return some;
  }
};

TEST_P(TrainerForms, OneWorkerWithAReplicaEqualsOneWithoutHoweverOftenItMerges) {
  for (const UpdateMode mode : {UpdateMode::hogwild, UpdateMode::atomic}) {
    for (const Engine engine : {Engine::fused, Engine::autograd}) {
      TrainerOptions without = options(fmt::format("without-{}-{}", to_string(mode), static_cast<int>(engine)));
      without.launcher.workers_as = GetParam();
      without.mode = UpdateMode::hogwild;
      without.engine = engine;
      const auto expected = parameters_of(trainer(without).run().checkpoint.value());
      for (const int merge_every : {1, 7, 1'000'000}) {
        TrainerOptions some =
            with_replicas(without.run_directory.filename().string() + std::to_string(merge_every), 1, merge_every);
        some.mode = mode;
        some.engine = engine;
        expect_close(expected, parameters_of(trainer(some).run().checkpoint.value()), 0.0);
      }
    }
  }
}

TEST_P(TrainerForms, SeveralWorkersWithReplicasLearn) {
  for (const UpdateMode mode : {UpdateMode::hogwild, UpdateMode::atomic}) {
    TrainerOptions some = with_replicas(to_string(mode), 3, 4);
    some.mode = mode;
    some.epochs = 5;
    some.optimizer.state = mode == UpdateMode::atomic ? StateSharing::shared : StateSharing::private_;
    const TrainResult result = trainer(some).run();
    EXPECT_EQ(result.samples, 5u * 1000u);
    EXPECT_GT(result.evaluation->accuracy, 0.9);
  }
}

// A checkpoint that did not hold the steps of the replica would go on from older parameters with newer samples.
TEST_P(TrainerForms, ACheckpointInTheMiddleHoldsTheStepsOfTheReplica) {
  TrainerOptions some = with_replicas("whole", 1, 1'000'000);
  some.epochs = 500;
  some.keep_checkpoints = 0;
  const auto expected = parameters_of(trainer(some).run().checkpoint.value());
  const CheckpointStore store(some.run_directory / "checkpoints", 0);
  const fs::path end = store.latest().value();
  for (const auto& entry : fs::directory_iterator(some.run_directory / "checkpoints")) {
    if (entry.path() == end) continue;
    TrainerOptions rest = options("rest");
    rest.launcher.workers_as = GetParam();
    rest.epochs = some.epochs;
    rest.resume = entry.path();
    expect_close(expected, parameters_of(trainer(rest).run().checkpoint.value()), 0.0);
    return;
  }
  FAIL() << "there was no checkpoint before the end";
}

/// A model whose step is so slow that those of several workers overlap however busy the machine is.
Model slow_model() {
  Model model = parse_model(kText);
  model.forward = [inner = model.forward, module = model.module](const at::Tensor& input) {
    if (module->is_training() && input.size(0) > 1) std::this_thread::sleep_for(2ms);
    return inner(input);
  };
  return model;
}

TEST_P(TrainerForms, AStepOfOneWorkerIsNeverStaleAndStepsOfTwoAre) {
  for (const Replicas replicas : {Replicas::one, Replicas::per_worker}) {
    TrainerOptions alone = with_replicas("alone-" + to_string(replicas), 1, 5);
    alone.replicas = replicas;
    const Staleness none = trainer(alone).run().staleness;
    EXPECT_EQ(none.steps, 3u * 32u);
    EXPECT_EQ(none.sum, 0u);
    EXPECT_EQ(none.max, 0u);
    TrainerOptions two = with_replicas("two-" + to_string(replicas), 2, 5);
    two.replicas = replicas;
    const Staleness some = trainer(two, slow_model).run().staleness;
    EXPECT_EQ(some.steps, 3u * 32u);
    // In equal steps 1, or the mean of 1 to 5.
    EXPECT_GT(some.mean(), replicas == Replicas::one ? 0.5 : 1.5);
    EXPECT_GE(static_cast<double>(some.max), some.mean());
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainerForms, ::testing::Values(WorkersAs::processes, WorkersAs::threads),
                         [](const auto& form) {
                           return std::string(form.param == WorkersAs::processes ? "processes" : "threads");
                         });

TEST_F(TrainerTest, ReplicasForEachNodeTrainAsTheMachineAllows) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.replicas = Replicas::per_numa;
  some.epochs = 5;
  EXPECT_GT(trainer(some).run().evaluation->accuracy, 0.9);
}

TEST_F(TrainerTest, ReplicasAreRefusedWhereTheyMakeNoSense) {
  for (const UpdateMode mode : {UpdateMode::locked, UpdateMode::sync}) {
    for (const Replicas replicas : {Replicas::per_numa, Replicas::per_worker}) {
      TrainerOptions some = options();
      some.mode = mode;
      some.replicas = replicas;
      try {
        (void)trainer(some);
        FAIL() << "it did not throw";
      } catch (const UsageError& error) {
        EXPECT_NE(std::string(error.what()).find("do not go with mode " + to_string(mode) + ": its "),
                  std::string::npos)
            << error.what();
      }
    }
  }
  TrainerOptions some = options();
  some.merge_every = 0;
  EXPECT_THROW((void)trainer(some), UsageError);
}

TEST_F(TrainerTest, StepsOfSynchronousWorkersAreNotStale) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.mode = UpdateMode::sync;
  EXPECT_EQ(trainer(some).run().staleness.sum, 0u);
}

TEST_F(TrainerTest, StalenessIsInTheMetrics) {
  TrainerOptions some = options();
  some.launcher.workers = 2;
  const TrainResult result = trainer(some, slow_model).run();
  std::ifstream lines(some.run_directory / "metrics.jsonl");
  std::size_t found = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto metrics = nlohmann::json::parse(line);
    if (!metrics.contains("train/staleness")) continue;
    ++found;
    EXPECT_GT(metrics.at("train/staleness").get<double>(), 0.0);
    EXPECT_LE(metrics.at("train/staleness_max").get<double>(), static_cast<double>(result.staleness.max));
  }
  EXPECT_GT(found, 0u);
}

TEST_F(TrainerTest, AModelThatDoesNotFitTheDataIsRefusedBeforeTraining) {
  for (const char* text : {"Linear(10,4)", "Linear(64,3)", "Conv2d(3,4,3) Flatten Linear(144,4)"}) {
    TrainerOptions some = options();
    EXPECT_THROW(Trainer([text] { return parse_model(text); }, text, small_data(), some).run(), UsageError) << text;
  }
}

TEST_F(TrainerTest, AConvolutionalModelWithDropoutLearns) {
  const char* text = "Conv2d(1,4,3,padding=1) ReLU MaxPool2d(2) Flatten Dropout(0.1) Linear(64,4)";
  TrainerOptions some = options();
  some.launcher.workers = 2;
  some.epochs = 5;
  const TrainResult result = Trainer([text] { return parse_model(text); }, text, small_data(), some).run();
  EXPECT_GT(result.evaluation->accuracy, 0.8);
}

TEST_F(TrainerTest, TwoRunsDoNotShareADirectory) {
  TrainerOptions some = options();
  some.epochs = kEpochsOfALongRun;
  some.evaluate_every = some.checkpoint_every = 0;
  Trainer training = trainer(some);
  int refused = 0;
  training.on_progress([&](const TrainProgress&) {
    try {
      (void)trainer(some).run();
    } catch (const UsageError&) {
      ++refused;
    }
  });
  (void)training.run();
  EXPECT_GT(refused, 0);
}

TEST_F(TrainerTest, AReadOnlyRunDirectoryIsAClearError) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  fs::create_directory(directory_ / "run");
  fs::permissions(directory_ / "run", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THROW(trainer(options()).run(), SystemError);
}

}  // namespace
}  // namespace hogpen
