// What computes the steps of a training, and what a caller is told before the first.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "models/checkpoint.h"
#include "models/train_step.h"
#include "models/trainer.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText = "Linear(64,4)";

/// Softmax regression as one would write it by hand.
class HandWritten final : public TrainStep {
 public:
  HandWritten(SharedModel& model, BatchBuffer buffer) : model_(model), buffer_(std::move(buffer)) {}

  double forward(std::span<const std::uint32_t> samples) override {
    const at::NoGradGuard no_gradients;
    const BatchBuffer::Batch batch = buffer_.fill(samples);
    const auto parameters = model_.parameters();
    inputs_ = batch.inputs;
    const at::Tensor right = at::one_hot(batch.labels, 4).to(at::kFloat);
    const at::Tensor likely = at::softmax(at::addmm(parameters[1], inputs_, parameters[0].t()), 1);
    delta_ = likely.sub(right).div(static_cast<double>(samples.size()));
    return -likely.mul(right).sum(1).log().mean().item<double>();
  }

  void backward() override {
    const at::NoGradGuard no_gradients;
    gradients_ = {delta_.t().mm(inputs_), delta_.sum(0)};
  }

 private:
  SharedModel& model_;
  BatchBuffer buffer_;
  at::Tensor inputs_;
  at::Tensor delta_;
};

class TrainerStep : public ::testing::TestWithParam<WorkersAs> {
 protected:
  TrainerStep() {
    at::set_num_threads(1);  // The tests fork: no parallel region may have run here.
    std::string pattern = (fs::temp_directory_path() / "hogpen-step-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~TrainerStep() override { fs::remove_all(directory_); }

  [[nodiscard]] TrainerOptions options(const std::string& run) const {
    TrainerOptions some;
    some.launcher = {.workers = 1, .workers_as = GetParam(), .threads_per_worker = 1};
    some.epochs = 2;
    some.batch_size = 32;
    some.run_directory = directory_ / run;
    return some;
  }

  static Trainer trainer(const TrainerOptions& some) {
    return Trainer([] { return parse_model(kText); }, kText,
                   {Dataset::synthetic(1000, 8, 8, 4, 1), Dataset::synthetic(200, 8, 8, 4, 2)}, some);
  }

  static TrainStart start_of(const TrainerOptions& some) {
    Trainer one = trainer(some);
    TrainStart start;
    one.on_start([&](const TrainStart& told) {
      start = told;
      EXPECT_TRUE(fs::exists(told.live_model));
    });
    EXPECT_EQ(one.run().engine, start.engine);
    return start;
  }

  static at::Tensor weight_of(const TrainResult& result) {
    Model model = parse_model(kText);
    const Arena arena = share_memory(*model.module);
    load_safetensors(model_file(*result.checkpoint), arena);
    return arena.tensor("0.weight").clone();
  }

  fs::path directory_;
};

TEST_P(TrainerStep, OfTheCallersOwnTrainsAsAutogradDoes) {
  TrainerOptions own = options("own");
  own.step = [](SharedModel& model, BatchBuffer buffer, std::int64_t batch_size) {
    EXPECT_EQ(batch_size, 32);
    return std::make_unique<HandWritten>(model, std::move(buffer));
  };
  TrainerOptions autograd = options("autograd");
  autograd.engine = Engine::autograd;
  own.optimizer.momentum = autograd.optimizer.momentum = 0.9;
  const at::Tensor by_hand = weight_of(trainer(own).run());
  const at::Tensor by_autograd = weight_of(trainer(autograd).run());
  EXPECT_LT(by_hand.sub(by_autograd).abs().max().item<float>(), 1e-5);
  EXPECT_GT(by_hand.abs().max().item<float>(), 0.13);  // more than Linear(64, …) begins with
}

TEST_P(TrainerStep, AndItsEngineAreToldBeforeTheFirst) {
  TrainerOptions some = options("automatic");
  const TrainStart start = start_of(some);
  EXPECT_EQ(start.engine, Engine::fused);
  EXPECT_EQ(start.parameters, 64 * 4 + 4);
  EXPECT_EQ(start.live_model, some.run_directory / "live.safetensors");
  some = options("autograd");
  some.engine = Engine::autograd;
  EXPECT_EQ(start_of(some).engine, Engine::autograd);
  some = options("own");
  some.step = [](SharedModel& model, BatchBuffer buffer, std::int64_t) { return make_autograd_step(model, buffer); };
  EXPECT_EQ(start_of(some).engine, Engine::own);
}

TEST_P(TrainerStep, OfTheCallersOwnLeavesNoEngineToChoose) {
  TrainerOptions some = options("run");
  some.step = [](SharedModel& model, BatchBuffer buffer, std::int64_t) { return make_autograd_step(model, buffer); };
  some.engine = Engine::fused;
  EXPECT_THROW(trainer(some), UsageError);
}

INSTANTIATE_TEST_SUITE_P(Workers, TrainerStep, ::testing::Values(WorkersAs::processes, WorkersAs::threads),
                         [](const auto& workers) {
                           return workers.param == WorkersAs::processes ? "processes" : "threads";
                         });

}  // namespace
}  // namespace hogpen
