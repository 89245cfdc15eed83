// The fused engine of GPUs and its pipeline of captured steps, on the fake driver, with kernels that the host runs.
#include "models/gpu_pipeline.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <torch/nn/module.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/trainer.h"
#include "runtime/core/error.h"
#include "tests/expect_throw.h"
#include "tests/fake_cuda/of_fake.h"
#include "tests/models/gpu_training.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLayers = "Linear(64,48) ReLU Linear(48,16,bias=false) GELU Linear(16,4) LogSoftmax";

class GpuPipelineTest : public InGpuMemory {
 protected:
  [[nodiscard]] TrainerOptions options(const std::string& device) const {
    TrainerOptions some;
    some.launcher = {.workers = 1, .threads_per_worker = 1};
    some.device = device;
    some.epochs = 4;
    some.batch_size = 48;  // of 1000 samples the last batch has 40: a second graph
    some.schedule.kind = LrSchedule::Kind::cosine;
    some.schedule.base_lr = 0.3;
    some.run_directory = directory_ / device;
    return some;
  }

  static TrainResult train(const TrainerOptions& some, const std::string& text = kLayers) {
    const DatasetPair data = {Dataset::synthetic(1000, 8, 8, 4, 1), Dataset::synthetic(400, 8, 8, 4, 2)};
    Trainer trainer([text] { return parse_model(text); }, text, data, some);
    return trainer.run();
  }

  static at::Tensor parameters_of(const TrainResult& result, const std::string& text = kLayers) {
    Model model = parse_model(text);
    const Arena arena = share_memory(*model.module);
    load_safetensors(model_file(result.checkpoint.value()), arena);
    return SharedModel(std::move(model), arena).flat().clone();
  }
};

TEST_F(GpuPipelineTest, TrainsToTheNumbersOfTheCpu) {
  for (const std::string optimizer : {"sgd", "adam", "rmsprop"}) {
    alone([&] {
      TrainerOptions on_cpu = options("cpu");
      on_cpu.optimizer = default_optimizer(optimizer);
      if (optimizer != "sgd") on_cpu.schedule.base_lr = 0.002;
      TrainerOptions on_gpu = options("cuda:1");
      on_gpu.optimizer = on_cpu.optimizer;
      on_gpu.schedule.base_lr = on_cpu.schedule.base_lr;
      const TrainResult expected = train(on_cpu);
      const TrainResult found = train(on_gpu);
      EXPECT_EQ(found.engine, Engine::fused);
      EXPECT_EQ(found.samples, 4000);
      EXPECT_GT(found.evaluation->accuracy, 0.7) << optimizer;
      const at::Tensor difference = (parameters_of(found) - parameters_of(expected)).abs();
      EXPECT_LT(difference.max().item<double>(), optimizer == "sgd" ? 1e-5 : 2e-3) << optimizer;
    });
    fs::remove_all(directory_);
    fs::create_directory(directory_);
  }
}

TEST_F(GpuPipelineTest, EachLayerTrainsToTheNumbersOfTheCpu) {
  for (const std::string text : {
           "ReLU Linear(64,16) Tanh Sigmoid Linear(16,4) Tanh",
           "Conv2d(1,5,3,stride=2,padding=1) GELU Conv2d(5,3,2) Sigmoid Flatten Linear(27,4)",
           "MaxPool2d(2,1) Conv2d(1,6,3,padding=2) MaxPool2d(2) Tanh Dropout2d(0) Flatten Linear(96,4) LogSoftmax",
           "Conv2d(1,4,8) Flatten",
           "Linear(64,33) Tanh Dropout(0.5) Linear(33,4)",
           "Conv2d(1,8,3) Dropout2d(0.25) Tanh Flatten Linear(288,4)",
       }) {
    alone([&] {
      TrainerOptions on_cpu = options("cpu");
      on_cpu.batch_size = 40;  // All batches of an epoch are as large: so all masks follow each other as on the CPU.
      on_cpu.engine = Engine::fused;
      TrainerOptions on_gpu = options("cuda:1");
      on_gpu.batch_size = on_cpu.batch_size;
      const at::Tensor expected = parameters_of(train(on_cpu, text), text);
      const TrainResult result = train(on_gpu, text);
      EXPECT_EQ(result.engine, Engine::fused);
      const at::Tensor found = parameters_of(result, text);
      EXPECT_LT((found - expected).abs().max().item<double>(), 3e-5) << text;
      EXPECT_GT(result.evaluation->accuracy, 0.3) << text;
    });
    fs::remove_all(directory_);
    fs::create_directory(directory_);
  }
}

TEST_F(GpuPipelineTest, ABatchOfMoreNumbersThanTheKernelsCountIsRefused) {
  alone([] {
    const Dataset data = Dataset::synthetic(10, 8, 8, 4, 1);
    const std::string text = "Conv2d(1,64,3) Flatten Linear(2304,4)";
    SharedModel model(parse_model(text), share_memory(*parse_model(text).module));
    const BatchBuffer buffer(data, data.normalization(), 10, true);
    expect_throw<UsageError>("a batch of 1000000 samples of 2304 numbers",
                             [&] { (void)make_fused_gpu_step(model, buffer, 1'000'000); });
  });
}

TEST_F(GpuPipelineTest, SamplesForWhichThereIsNoRoomAreReadFromTheHost) {
  alone([&] {
    ::setenv("FAKE_BYTES", std::to_string(8 << 20).c_str(), 1);  // two pieces, and what each worker has
    const DatasetPair data = {Dataset::synthetic(60'000, 8, 8, 4, 1), Dataset::synthetic(400, 8, 8, 4, 2)};
    for (const WorkersAs kind : {WorkersAs::processes, WorkersAs::threads}) {
      TrainerOptions some = options("cuda:0");
      some.launcher.workers = 2;
      some.launcher.workers_as = kind;
      some.engine =
          Engine::fused;  // or threads would load LibTorch's CUDA libraries, which the fake driver does not take
      some.max_steps = 100;
      some.run_directory = directory_ / (kind == WorkersAs::threads ? "threads" : "processes");
      const TrainResult result = Trainer([] { return parse_model(kLayers); }, kLayers, data, some).run();
      EXPECT_EQ(result.samples, 4800);
      EXPECT_GT(result.evaluation->accuracy, 0.7);
    }
  });
}

TEST_F(GpuPipelineTest, WorkersTrainTogetherAsProcessesAndAsThreads) {
  for (const WorkersAs kind : {WorkersAs::processes, WorkersAs::threads}) {
    alone([&] {
      TrainerOptions some = options("cuda:0");
      some.launcher.workers = 2;
      some.launcher.workers_as = kind;
      some.engine =
          Engine::fused;  // or threads would load LibTorch's CUDA libraries, which the fake driver does not take
      some.mode = UpdateMode::atomic;
      some.run_directory = directory_ / (kind == WorkersAs::threads ? "threads" : "processes");
      const TrainResult result = train(some);
      EXPECT_EQ(result.samples, 4000);
      EXPECT_GT(result.evaluation->accuracy, 0.7);
    });
  }
}

TEST_F(GpuPipelineTest, AKilledWorkerLosesNoMoreThanItsStepsOnTheirWay) {
  constexpr int kLost = GpuPipeline::kMostOnTheirWay + 1;  // and the one that it had claimed
  for (const int call : {150, 300, 450}) {
    alone([&] {
      ::setenv("FAKE_KILL", fmt::format("hogpen-0:{}:{}", call, (directory_ / "killed").string()).c_str(), 1);
      TrainerOptions some = options("cuda:0");
      some.run_directory = directory_ / std::to_string(call);
      const TrainResult result = train(some);
      EXPECT_TRUE(fs::remove(directory_ / "killed"));
      EXPECT_EQ(result.launch.deaths.size(), 1);
      EXPECT_GE(result.samples, 4000 - kLost * some.batch_size);
      EXPECT_GT(result.evaluation->accuracy, 0.7);
    });
  }
}

TEST_F(GpuPipelineTest, AStepWhoseLossIsNoNumberEndsTheTraining) {
  alone([&] {
    TrainerOptions some = options("cuda:0");
    some.schedule = {.kind = LrSchedule::Kind::constant, .base_lr = 1e30};
    try {
      (void)train(some);
      ADD_FAILURE() << "it must fail";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("NaN or infinite"), std::string::npos) << error.what();
    }
  });
}

/// A pipeline on a model of its own; everything in one process.
class OnePipeline {
 public:
  OnePipeline()
      : shared_(parse_model(kLayers), on_gpu(share_memory(*parse_model(kLayers).module))),
        state_(on_gpu(Arena::create("state", Optimizer::state_specs(kOptions, shared_.flat().numel(), 1)))),
        optimizer_(kOptions, shared_.flat(), state_, 0, kernels::Write::plain),
        samples_(tensor_on_gpu(0, c10::ScalarType::Byte, static_cast<std::int64_t>(data_.samples().size_bytes()))),
        pipeline_(shared_, 48, optimizer_, [this] {
          copy_to_gpu(samples_.mutable_data_ptr(), data_.samples().data(), data_.samples().size_bytes());
          return make_fused_gpu_step(shared_, BatchBuffer(data_, data_.normalization(), 48, false, samples_), 48);
        }) {}

  GpuPipeline& operator*() { return pipeline_; }
  GpuPipeline* operator->() { return &pipeline_; }
  [[nodiscard]] std::vector<float> parameters() const {  // an address of the fake GPU is one of the host
    const auto* const first = static_cast<const float*>(shared_.flat().const_data_ptr());
    return {first, first + shared_.flat().numel()};
  }
  [[nodiscard]] std::int64_t steps() const { return optimizer_.steps(); }

 private:
  static Arena on_gpu(const Arena& arena) {
    auto memory = DeviceMemory::create(0, arena.data().size(), {.layout_hash = arena.layout_hash()});
    copy_to_gpu(memory.data(), arena.data().data(), arena.data().size());
    return arena.on(std::move(memory));
  }

  inline static const OptimizerOptions kOptions = default_optimizer("sgd");
  Dataset data_ = Dataset::synthetic(100, 8, 8, 4, 1);
  SharedModel shared_;
  Arena state_;
  Optimizer optimizer_;
  at::Tensor samples_;
  GpuPipeline pipeline_;
};

TEST_F(GpuPipelineTest, NothingIsDoneBeforeSomebodyWaitsAndNothingIsUpdatedByALossThatIsNoNumber) {
  alone([] {
    OnePipeline pipeline;
    const std::vector<std::uint32_t> samples = {3, 1, 4, 15, 92};
    const std::vector<float> before = pipeline.parameters();
    for (int i = 0; i < 4; ++i) pipeline->begin(samples, 0.5);
    EXPECT_TRUE(pipeline->is_full());
    EXPECT_THROW(pipeline->begin(samples, 0.5), UsageError);
    double last = 1e9;
    for (int i = 0; i < 4; ++i) {
      const double loss = pipeline->finish();
      EXPECT_LT(loss, last) << "the same samples again and again";
      last = loss;
    }
    EXPECT_THROW((void)pipeline->finish(), UsageError);
    EXPECT_EQ(pipeline.steps(), 4);
    EXPECT_NE(before, pipeline.parameters());
    // Such a rate that the next loss is no number, and with it the step is lost, not the parameters.
    pipeline->begin(samples, 1e25);
    EXPECT_TRUE(std::isfinite(pipeline->finish()));
    pipeline->begin(samples, 1.0);
    EXPECT_FALSE(std::isfinite(pipeline->finish()));
    EXPECT_EQ(pipeline.steps(), 5);
  });
}

TEST_F(GpuPipelineTest, GivesAllBackAlsoWithStepsOnTheirWayAndWhenACallFails) {
  alone([] {
    const auto use = [] {
      OnePipeline pipeline;
      for (int i = 0; i < 3; ++i) pipeline->begin(std::vector<std::uint32_t>{1, 2, 3}, 0.1);
    };
    use();
    const auto live = of_fake<int()>("fake_driver_live");
    const auto calls = of_fake<int()>("fake_driver_calls");
    const auto fail = of_fake<void(int)>("fake_driver_fail_call");
    const int live_before = live();
    const int calls_before = calls();
    use();
    const int most = calls() - calls_before;
    EXPECT_EQ(live(), live_before);
    for (int n = 1; n <= most; ++n) {
      fail(n);
      try {
        use();
      } catch (const CudaError&) {
      }
      fail(0);
      // What could not be given back because that call failed is lost, and no more.
      EXPECT_LE(live(), live_before + n) << "call " << n;
    }
  });
}

}  // namespace
}  // namespace hogpen
