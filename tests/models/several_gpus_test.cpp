// Training on two GPUs, on the fake driver and the fake NCCL: replicas that are averaged, gradients that are added up,
// and what becomes of them when a worker or the keeper is killed. The host computes the steps: an address of the fake
// driver's GPU memory is one of the host's.
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "models/train_device.h"
#include "models/train_step.h"
#include "runtime/core/error.h"
#include "runtime/memory/view.h"
#include "tests/expect_throw.h"
#include "tests/models/several_gpus.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::int64_t kSteps = 60;

/// Has gradients on the model's device, in host memory.
class HostStep : public TrainStep {
 public:
  explicit HostStep(SharedModel& model) : model_(model), numbers_(static_cast<std::size_t>(model.flat().numel())) {
    const c10::Storage storage(c10::Storage::use_byte_size_t(), numbers_.size() * sizeof(float),
                               at::DataPtr(numbers_.data(), model.flat().device()));
    for (const FlatSlice& slice : model.slices()) {
      gradients_.push_back(view_in(storage, c10::ScalarType::Float,
                                   static_cast<std::size_t>(slice.offset) * sizeof(float), slice.numel));
    }
  }
  void backward() override {}

 protected:
  SharedModel& model_;
  std::vector<float> numbers_;
};

/// Adds 1 to the first parameter where the learning rate is 1.
class CountingStep final : public HostStep {
 public:
  CountingStep(SharedModel& model, fs::path victim) : HostStep(model), victim_(std::move(victim)) {
    numbers_[0] = -1.0F;
  }
  double forward(std::span<const std::uint32_t>) override {
    std::this_thread::sleep_for(1ms);
    if (fs::remove(victim_)) ::raise(SIGKILL);  // one worker alone
    return 1.0;
  }

 private:
  fs::path victim_;
};

class SeveralGpus : public OnSeveralGpus {
 protected:
  [[nodiscard]] TrainerOptions options(const std::string& run, UpdateMode mode = UpdateMode::atomic) const {
    TrainerOptions some = on_both(run, mode == UpdateMode::sync ? 2 : 3, mode);
    some.max_steps = kSteps;
    some.step = [victim = directory_ / "victim"](SharedModel& model, const BatchBuffer&, std::int64_t) {
      return std::make_unique<CountingStep>(model, victim);
    };
    return some;
  }

  /// How many steps each worker's state has counted.
  static std::vector<std::int64_t> steps_of(const TrainerOptions& some, const TrainResult& result) {
    const std::int64_t numel = SharedModel(make_zeros(), saved_by(result)).flat().numel();
    const Arena state = Arena::create("state", Optimizer::state_specs(some.optimizer, numel, some.launcher.workers));
    load_safetensors(*result.checkpoint / "optimizer.safetensors", state);
    const at::Tensor steps = state.tensor("step");
    const auto* const first = static_cast<const std::int64_t*>(steps.const_data_ptr());
    return {first, first + steps.numel()};
  }

  void kill_at_calls(const std::string& name, int first, int most, int stride, float may_be_off) const;
};

TEST_F(SeveralGpus, EveryStepCountsInTheMeanAndInItsWorkersState) {
  alone([&] {
    TrainerOptions some = options("both");
    TrainStart start;
    Trainer one = trainer(some);
    one.on_start([&](const TrainStart& told) { start = told; });
    const TrainResult result = one.run();
    EXPECT_EQ(start.device, "cuda:0,1");
    EXPECT_EQ(result.device, "cuda:0,1");
    EXPECT_EQ(first_of(result), kSteps / 2.0F);
    const std::vector<std::int64_t> steps = steps_of(some, result);
    EXPECT_EQ(steps[0] + steps[1] + steps[2], kSteps) << fmt::format("{}", fmt::join(steps, " "));

    some.resume = result.checkpoint;
    some.max_steps = 2 * kSteps;
    const TrainResult resumed = trainer(some).run();
    EXPECT_EQ(first_of(resumed), kSteps);
    const std::vector<std::int64_t> all = steps_of(some, resumed);
    EXPECT_EQ(all[0] + all[1] + all[2], 2 * kSteps) << fmt::format("{}", fmt::join(all, " "));
  });
}

TEST_F(SeveralGpus, AWorkersDeathTakesOneBatchAlong) {
  alone([&] {
    std::ofstream(directory_ / "victim") << "";
    const TrainResult result = trainer(options("killed")).run();
    ASSERT_EQ(result.launch.deaths.size(), 1);
    EXPECT_EQ(first_of(result), (kSteps - 1) / 2.0F);
  });
}

/// Runs trainings in which the process of that name is killed at one of its calls of the driver. They go on from a
/// checkpoint, so that memory which is new shows.
void SeveralGpus::kill_at_calls(const std::string& name, int first, int most, int stride, float may_be_off) const {
  const fs::path file = directory_ / "killed";
  const auto before = trainer(options("before")).run().checkpoint;
  for (int call = first; call <= most; call += stride) {
    ::setenv("FAKE_KILL", fmt::format("{}:{}:{}", name, call, file.string()).c_str(), 1);
    TrainerOptions some = options(fmt::format("{}-{}", name, call));
    some.resume = before;
    some.max_steps = 2 * kSteps;
    const TrainResult result = trainer(some).run();
    EXPECT_NEAR(first_of(result), kSteps, may_be_off) << "call " << call;
    ASSERT_TRUE(fs::remove(file)) << "call " << call;
    ASSERT_EQ(result.launch.deaths.size(), 1) << "call " << call;
    EXPECT_EQ(result.launch.deaths[0].signal, SIGKILL) << "call " << call;
  }
}

TEST_F(SeveralGpus, SurviveTheKillOfAWorkerAtItsFirstCalls) {
  alone([&] { kill_at_calls("hogpen-1", 1, 36, 3 * kFewer, 0.5F); });
}

TEST_F(SeveralGpus, SurviveTheKillOfTheKeeperWhileItMakesTheirMemory) {
  alone([&] { kill_at_calls("hogpen-keeper", 1, 103, 7 * kFewer, 0.0F); });
}

TEST_F(SeveralGpus, SurviveTheKillOfTheKeeperWhileItFillsTheirMemory) {
  alone([&] { kill_at_calls("hogpen-keeper", 104, 143, 3 * kFewer, 0.0F); });
}

// One GPU may have been moved to the mean, and the other not: see ReplicaAverage.
TEST_F(SeveralGpus, SurviveTheKillOfTheKeeperWhileItAverages) {
  alone([&] { kill_at_calls("hogpen-keeper", 145, 171, 2 * kFewer, kSteps / 4.0F); });
}

TEST_F(SeveralGpus, TrainByPipelinesOfSteps) {
  alone([&] {
    TrainerOptions some = options("pipelines", UpdateMode::hogwild);
    some.step = {};
    some.max_steps.reset();
    some.epochs = 4;
    const TrainResult result = trainer(some).run();
    EXPECT_EQ(result.engine, Engine::fused);
    EXPECT_EQ(result.samples, 4000);
    EXPECT_GT(result.evaluation->accuracy, 0.7);
  });
}

TEST_F(SeveralGpus, InModeSyncMakeTheStepsOfTheJoinedBatch) {
  const auto trained = [&](const TrainerOptions& base, const char* device) {
    TrainerOptions some = base;
    some.device = device;
    some.max_steps.reset();
    some.epochs = 1;  // The last step has batches of 32 and of 8 samples.
    some.optimizer.momentum = 0.9;
    some.schedule.base_lr = 0.1;
    some.step = {};
    const TrainResult result = trainer(some).run();
    EXPECT_EQ(result.engine, Engine::fused);
    const Arena saved = saved_by(result);
    const std::span<const std::byte> bytes = saved.data();
    const auto* const first = reinterpret_cast<const float*>(bytes.data());
    return std::vector<float>(first, first + bytes.size() / sizeof(float));
  };
  alone([&] {
    TrainerOptions joined = options("joined", UpdateMode::hogwild);
    joined.launcher.workers = 1;
    joined.batch_size = 64;
    const std::vector<float> expected = trained(joined, "cpu");
    EXPECT_GT(*std::ranges::max_element(expected), 0.1F);
    const std::vector<float> two = trained(options("two", UpdateMode::sync), "cuda:1,0");
    TrainerOptions lone = options("lone", UpdateMode::sync);
    lone.launcher.workers = 1;
    lone.batch_size = 64;
    const std::vector<float> one = trained(lone, "cuda:1");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(two[i], expected[i], 1e-4F) << i;
      ASSERT_NEAR(one[i], expected[i], 1e-4F) << i;
    }
  });
}

TEST_F(SeveralGpus, InModeSyncEndWithTheDeathOfAWorker) {
  alone([&] {
    std::ofstream(directory_ / "victim") << "";
    EXPECT_THROW((void)trainer(options("killed", UpdateMode::sync)).run(), WorkerError);
  });
}

TEST_F(SeveralGpus, AreRefusedWithAReason) {
  const auto refuse = [&](int workers, const char* device, UpdateMode mode, const std::string& text) {
    TrainerOptions some = options("refused", mode);
    some.launcher.workers = workers;
    some.device = device;
    expect_throw<UsageError>(text, [&] { (void)detail::choose_device(some, Engine::own, {.state_bytes = 1}); });
  };
  refuse(2, "cuda:1,1", UpdateMode::hogwild, "the device cuda:1,1 has GPU 1 twice");
  refuse(1, "cuda:0,1", UpdateMode::hogwild, "each GPU needs a worker, but there are 2 GPUs and 1 worker");
  refuse(3, "cuda:0,1", UpdateMode::sync, "in mode sync each GPU has one worker, but there are 3 workers for 2 GPUs");
  refuse(2, "cuda:0,1", UpdateMode::locked, "on a GPU the modes are hogwild, atomic and sync, not locked");
  refuse(20, "cuda:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", UpdateMode::hogwild, "takes at most 16 GPUs");
  const auto fail = [&](const char* device, std::size_t bytes, const std::string& text) {
    TrainerOptions some = options("refused");
    some.device = device;
    expect_throw<DeviceError>(text, [&] { (void)detail::choose_device(some, Engine::own, {.state_bytes = bytes}); });
  };
  alone([&] {
    fail("cuda:0,2", 1, "there is no GPU 2");
    fail("cuda:1,0", std::size_t{5} << 30, "GPU 1 has 1024 MiB free, and this training needs 5120 MiB");
    ::setenv("FAKE_NCCL_VERSION", "21805", 1);
    fail("cuda:0,1", 1, "is NCCL 2.18.5, but hogpen needs 2.28.0 or newer");
  });
}

TEST_F(SeveralGpus, EndWithTheErrorOfNcclWhereNothingCanBeBroadcast) {
  alone([&] {
    for (const UpdateMode mode : {UpdateMode::atomic, UpdateMode::sync}) {
      fail_nccl("ncclBroadcast");
      expect_throw<WorkerError>("ncclBroadcast says: some error",
                                [&] { (void)trainer(options("error-" + to_string(mode), mode)).run(); });
    }
  });
}

}  // namespace
}  // namespace hogpen
