// Training in the memory of a GPU, on the fake driver: who makes, finds and frees the memory, whoever is killed at
// whatever step. The training step is the test's own, since no kernel runs there: it counts, in memory that all workers
// of the training share.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "models/train_device.h"
#include "models/train_step.h"
#include "runtime/core/error.h"
#include "runtime/memory/limits.h"
#include "tests/expect_throw.h"
#include "tests/models/gpu_training.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::int64_t kSteps = 60;

/// Kills one worker, if there is a victim's file.
class CountingStep final : public CountingUpdate {
 public:
  CountingStep(SharedModel& model, fs::path victim) : CountingUpdate(model), victim_(std::move(victim)) {}

  double forward(std::span<const std::uint32_t>) override {
    EXPECT_TRUE(model().flat().is_cuda());
    std::this_thread::sleep_for(1ms);
    if (fs::remove(victim_)) ::raise(SIGKILL);  // one worker alone
    return 1.0;
  }

 private:
  fs::path victim_;
};

class GpuTraining : public InGpuMemory {
 protected:
  [[nodiscard]] TrainerOptions options(const std::string& run) const {
    TrainerOptions some;
    some.launcher = {.workers = 2, .threads_per_worker = 1};
    some.device = "cuda:1";
    some.max_steps = kSteps;
    some.batch_size = 32;
    some.run_directory = directory_ / run;
    some.step = [victim = directory_ / "victim"](SharedModel& model, const BatchBuffer&, std::int64_t) {
      return std::make_unique<CountingStep>(model, victim);
    };
    return some;
  }

  void kill_at_every_call(const std::string& name, int most) const;
};

TEST_F(GpuTraining, IsDoneInItsMemoryAndSavedFromThere) {
  alone([&] {
    Trainer one = trainer(options("plain"));
    TrainStart start;
    one.on_start([&](const TrainStart& told) { start = told; });
    const TrainResult result = one.run();
    EXPECT_EQ(start.device, "cuda:1");
    EXPECT_EQ(start.engine, Engine::own);
    EXPECT_TRUE(result.evaluation.has_value());
    EXPECT_EQ(first_of(result), kSteps);
  });
}

TEST_F(GpuTraining, GoesOnFromACheckpoint) {
  alone([&] {
    TrainerOptions some = options("resumed");
    some.resume = trainer(some).run().checkpoint;
    some.max_steps = 2 * kSteps;
    EXPECT_EQ(first_of(trainer(some).run()), 2 * kSteps);
  });
}

TEST_F(GpuTraining, SurvivesTheKillOfAWorker) {
  alone([&] {
    std::ofstream(directory_ / "victim") << "";
    const TrainResult result = trainer(options("killed")).run();
    ASSERT_EQ(result.launch.deaths.size(), 1);
    EXPECT_EQ(result.launch.deaths[0].signal, SIGKILL);
    EXPECT_EQ(first_of(result), kSteps - 1);  // its batch went with it
  });
}

/// Runs trainings in which the process of that name is killed at its first, second, … call of the driver, until it
/// makes fewer, or `most` have been tried. All must end as if nothing had been.
void GpuTraining::kill_at_every_call(const std::string& name, int most) const {
  const fs::path file = directory_ / "killed";
  int kills = 0;
  for (int call = 1; call <= most; call += kFewer) {
    ::setenv("FAKE_KILL", fmt::format("{}:{}:{}", name, call, file.string()).c_str(), 1);
    const TrainResult result = trainer(options(fmt::format("{}-{}", name, call))).run();
    EXPECT_EQ(first_of(result), kSteps) << "call " << call;
    if (!fs::remove(file)) break;
    ++kills;
    ASSERT_EQ(result.launch.deaths.size(), 1) << "call " << call;
    EXPECT_EQ(result.launch.deaths[0].signal, SIGKILL) << "call " << call;
  }
  EXPECT_GT(kills, 10 / kFewer);
}

TEST_F(GpuTraining, SurvivesTheKillOfTheKeeperAtAnyCallOfTheDriver) {
  alone([&] { kill_at_every_call("hogpen-keeper", 1000); });
}

TEST_F(GpuTraining, SurvivesTheKillOfAWorkerAtAnyCallWhileItAttachesAndBegins) {
  alone([&] { kill_at_every_call("hogpen-0", 80); });
}

TEST_F(GpuTraining, IsRefusedWithAReasonWhereThereIsNoGpu) {
  alone([&] {
    ::setenv("FAKE_GPUS", "0", 1);
    try {
      (void)trainer(options("none")).run();
      ADD_FAILURE();
    } catch (const DeviceError& error) {
      EXPECT_STREQ(error.what(), "the NVIDIA driver has no GPU to offer");
      EXPECT_EQ(error.hint(), "--device auto falls back to CPUs");
    }
  });
  alone([&] {
    TrainerOptions some = options("seventh");
    some.device = "cuda:7";
    EXPECT_THROW((void)trainer(some).run(), DeviceError);
  });
}

TEST_F(GpuTraining, FallsBackToCpusAndSaysWhy) {
  alone([&] {
    ::setenv("FAKE_GPUS", "0", 1);
    TrainerOptions some = options("fallback");
    some.device = "auto";
    const auto device = detail::choose_device(some, Engine::own, {.state_bytes = 1});
    EXPECT_TRUE(device.gpus.empty());
    EXPECT_EQ(device.reason, "the NVIDIA driver has no GPU to offer");
  });
  alone([&] {
    TrainerOptions some = options("locked");
    some.device = "auto";
    EXPECT_EQ(detail::choose_device(some, Engine::own, {.state_bytes = 1}).gpus, std::vector{0});
    some.mode = UpdateMode::locked;
    EXPECT_EQ(detail::choose_device(some, Engine::own, {.state_bytes = 1}).reason,
              "on a GPU the modes are hogwild, atomic and sync, not locked");
    some.device = "cuda";
    EXPECT_THROW((void)detail::choose_device(some, Engine::own, {.state_bytes = 1}), UsageError);
  });
}

TEST_F(GpuTraining, SaysHowMuchMemoryIsWanting) {
  alone([&] {
    const TrainerOptions some = options("large");
    try {
      (void)detail::choose_device(some, Engine::own, {.state_bytes = std::size_t{5} << 30});
      ADD_FAILURE();
    } catch (const DeviceError& error) {
      EXPECT_STREQ(error.what(), "GPU 1 has 1024 MiB free, and this training needs 5120 MiB");
    }
    EXPECT_EQ(detail::choose_device(some, Engine::own, {.state_bytes = std::size_t{1} << 30}).gpus, std::vector{1});
  });
}

TEST_F(GpuTraining, CountsWhatEachWorkerHas) {
  alone([&] {
    TrainerOptions some = options("workers");
    some.launcher.workers = 3;
    const std::size_t quarter = std::size_t{1} << 28;
    const auto choose = [&](std::size_t samples, std::size_t worker) {
      return detail::choose_device(some, Engine::own,
                                   {.state_bytes = quarter, .samples_bytes = samples, .worker_bytes = worker});
    };
    EXPECT_TRUE(choose(3 * quarter, 0).has_room_for_samples);
    EXPECT_FALSE(choose(3 * quarter, 1).has_room_for_samples);
    EXPECT_FALSE(choose(1, quarter).has_room_for_samples);
    expect_throw<DeviceError>("this training needs 1280 MiB", [&] { (void)choose(0, quarter + quarter / 3 + 1); });
  });
}

TEST_F(GpuTraining, AutoTakesTheFirstGpuThatCanBeUsed) {
  alone([&] {
    TrainerOptions some = options("full");
    some.launcher.workers_as = WorkersAs::threads;  // They are one process with the test, in which GPU 0 is full.
    some.device = "auto";
    const detail::GpuNeeds needs = {.state_bytes = std::size_t{1} << 29};
    EXPECT_EQ(detail::choose_device(some, Engine::own, needs).gpus, std::vector{0});
    const auto other = DeviceMemory::create(0, std::size_t{3} << 28);
    EXPECT_EQ(detail::choose_device(some, Engine::own, needs).gpus, std::vector{1});
    some.device = "cuda";
    EXPECT_THROW((void)detail::choose_device(some, Engine::own, needs), DeviceError);
  });
}

TEST_F(GpuTraining, HasAWorkerForEachGpuIfNobodySaysHowMany) {
  alone([&] {
    TrainerOptions some = options("one");
    some.launcher.workers = 0;
    EXPECT_EQ(trainer(some).run().workers, 1);
  });
  alone([&] {
    ::setenv("FAKE_GPUS", "0", 1);
    TrainerOptions some = options("cpus");
    some.launcher.workers = 0;
    some.device = "auto";
    some.step = {};
    const TrainResult result = trainer(some).run();
    EXPECT_EQ(result.device, "cpu");
    EXPECT_EQ(result.workers, usable_cpus());
  });
}

TEST_F(GpuTraining, AWorkerThatWaitsForTheKeeperIsNotStalled) {
  alone([&] {
    TrainerOptions some = options("slow");
    some.launcher.stall_timeout = 100ms;
    ::setenv("FAKE_DELAY", "hogpen-keeper:20", 1);  // So it is ready long after 100 ms.
    EXPECT_TRUE(trainer(some).run().launch.deaths.empty());
  });
}

TEST_F(GpuTraining, NeedsADeviceThatHasAName) {
  EXPECT_EQ(gpus_named("cpu"), std::vector<int>{});
  EXPECT_EQ(gpus_named("cuda"), std::vector{0});
  EXPECT_EQ(gpus_named("auto"), std::vector{0});
  EXPECT_EQ(gpus_named("cuda:12"), std::vector{12});
  EXPECT_EQ(gpus_named("cuda:3,0,12"), (std::vector{3, 0, 12}));
  for (const char* name :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:0,", "cuda:,0", "cuda:0,0", "cuda:0 1", "CUDA"}) {
    EXPECT_THROW((void)gpus_named(name), UsageError) << name;
  }
}

}  // namespace
}  // namespace hogpen
