// A worker whose GPU fails: an error that stays, as after an illegal access, ends the context of its process, and with
// it the worker, and no other. On the fake driver, with the kernels of the fused engine on the host.
#include <fmt/format.h>
#include <pthread.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "models/gpu_pipeline.h"
#include "models/train_step.h"
#include "models/trainer.h"
#include "runtime/memory/cuda_stream.h"
#include "tests/models/gpu_training.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// Adds 1 to the first parameter, when the driver lets it read that. Workers but 0 begin when that one has had its
/// fault.
class ReadingStep final : public CountingUpdate {
 public:
  ReadingStep(SharedModel& model, fs::path fault) : CountingUpdate(model), fault_(std::move(fault)) {}

  double forward(std::span<const std::uint32_t>) override {
    std::array<char, 16> name{};
    (void)::pthread_getname_np(::pthread_self(), name.data(), name.size());
    while (std::string(name.data()) != "hogpen-0" && !fs::exists(fault_)) std::this_thread::sleep_for(1ms);
    float first = 0;
    copy_from_gpu(&first, model().flat().const_data_ptr(), sizeof(first));
    return 1.0;
  }

 private:
  fs::path fault_;
};

class GpuFault : public InGpuMemory {
 protected:
  [[nodiscard]] TrainerOptions options(int call) const {
    TrainerOptions some;
    some.launcher = {.workers = 1, .threads_per_worker = 1};
    some.device = "cuda:0";
    some.epochs = 8;
    some.batch_size = 40;
    some.schedule = {.kind = LrSchedule::Kind::cosine, .base_lr = 0.3};
    some.run_directory = directory_ / std::to_string(call);
    return some;
  }

  /// Lets the GPU fail for worker 0 from that call of the driver on, until it is replaced.
  void break_at(int call) const {
    ::setenv("FAKE_FAULT", fmt::format("hogpen-0:{}:{}", call, fault().string()).c_str(), 1);
  }
  [[nodiscard]] fs::path fault() const { return directory_ / "fault"; }
};

TEST_F(GpuFault, OfAWorkerReplacesItAndTheTrainingEndsWell) {
  constexpr int kLost = GpuPipeline::kMostOnTheirWay + 1;  // and the one that it had claimed
  // While it attaches, and captures, and trains; most of a worker's calls are of its steps.
  for (const int call : {3, 20, 60, 150, 300}) {
    alone([&] {
      break_at(call);
      const TrainerOptions some = options(call);
      const TrainResult result = trainer(some).run();
      EXPECT_EQ(result.engine, Engine::fused);
      EXPECT_TRUE(fs::remove(fault())) << "call " << call << " was never made";
      ASSERT_EQ(result.launch.deaths.size(), 1) << "call " << call;
      const WorkerExit& death = result.launch.deaths[0];
      EXPECT_EQ(death.rank, 0);
      EXPECT_EQ(death.exit_code, 1);
      EXPECT_NE(death.message.find("an illegal memory access was encountered"), std::string::npos) << death.message;
      EXPECT_GE(result.samples, 8000 - kLost * some.batch_size) << "call " << call;
      EXPECT_GT(result.evaluation->accuracy, 0.7) << "call " << call;
    });
  }
}

TEST_F(GpuFault, OfAWorkerEndsNoOther) {
  alone([&] {
    break_at(150);
    TrainerOptions some = options(150);
    some.launcher.workers = 2;
    some.max_steps = 200;
    some.step = [file = fault()](SharedModel& model, const BatchBuffer&, std::int64_t) {
      return std::make_unique<ReadingStep>(model, file);
    };
    const TrainResult result = trainer(some).run();
    ASSERT_EQ(result.launch.deaths.size(), 1);
    EXPECT_EQ(result.launch.deaths[0].rank, 0);
    EXPECT_GE(first_of(result), 199);  // the step that failed may have gone with its worker
  });
}

TEST_F(GpuFault, OfEveryLifeOfAWorkerEndsTheTrainingWithTheDriversWords) {
  alone([&] {
    TrainerOptions some = options(0);
    some.launcher.max_restarts = 0;
    break_at(60);
    try {
      (void)trainer(some).run();
      ADD_FAILURE() << "it must fail";
    } catch (const WorkerError& error) {
      EXPECT_NE(std::string(error.what()).find("illegal memory access"), std::string::npos) << error.what();
    }
  });
}

// Its successor finds the memory gone. What a checkpoint has can be resumed.
TEST_F(GpuFault, TheDeathOfTheKeeperEndsATrainingWhoseMemoryIsItsMakers) {
  alone([&] {
    ::setenv("FAKE_NO_DESCRIPTORS", "1", 1);
    ::setenv("FAKE_KILL", fmt::format("hogpen-keeper:60:{}", fault().string()).c_str(), 1);
    TrainerOptions some = options(0);
    some.epochs = 1000;
    try {
      (void)trainer(some).run();
      ADD_FAILURE() << "it must fail";
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_TRUE(text.starts_with("keeper")) << text;
      EXPECT_NE(text.find("cuIpcOpenMemHandle_v2 says"), std::string::npos) << text;
    }
    EXPECT_TRUE(fs::exists(fault()));
  });
}

}  // namespace
}  // namespace hogpen
