#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/sampler.h"
#include "models/train_step.h"

namespace hogpen {
namespace {

constexpr std::int64_t kBatch = 32;
constexpr int kSteps = 100;

Dataset small_data() {
  return Dataset::synthetic(1000, 8, 8, 4, 1);
}

BatchBuffer buffer_for(const Dataset& data, const SharedModel& model, std::int64_t batch_size = kBatch) {
  return {data, data.normalization(), batch_size, model.model().takes_images};
}

SharedModel in_shared_memory(Model model) {
  const Arena arena = share_memory(*model.module);
  return SharedModel(std::move(model), arena);
}

/// A model with parameters that are the same each time.
SharedModel shared_model(const std::string& text) {
  torch::manual_seed(5);
  return in_shared_memory(parse_model(text));
}

bool is_taken(Model model) {
  const Dataset data = small_data();
  SharedModel shared = in_shared_memory(std::move(model));
  return make_fused_step(shared, buffer_for(data, shared), kBatch) != nullptr;
}

/// What a worker of its own does.
at::Tensor train(const std::string& text, bool is_fused, const OptimizerOptions& options, double lr, bool updates) {
  const Dataset data = small_data();
  SharedModel model = shared_model(text);
  const std::unique_ptr<TrainStep> step = is_fused ? make_fused_step(model, buffer_for(data, model), kBatch)
                                                   : make_autograd_step(model, buffer_for(data, model));
  EXPECT_NE(step, nullptr) << text;
  const Arena state = Arena::create("state", Optimizer::state_specs(options, model.flat().numel(), 1));
  Optimizer optimizer(options, model.flat(), state, 0, kernels::Write::plain);
  EpochSampler sampler(data.size(), kBatch, 3);
  for (std::uint64_t i = 0; i < kSteps; ++i) {
    (void)step->forward(sampler.batch(i));  // the last batch of an epoch is a smaller one
    if (updates && step->update(lr)) continue;
    step->backward();
    optimizer.step(lr, model.slices(), step->gradients());
  }
  return model.flat().clone();
}

void expect_close(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  EXPECT_LE((a - b).abs().max().item<double>(), tolerance);
  EXPECT_GT(a.abs().max().item<double>(), 0.1);
}

class FusedStep : public testing::Test {
 protected:
  FusedStep() { at::set_num_threads(1); }
};

TEST_F(FusedStep, EachLayerTrainsAsWithAutograd) {
  for (const char* text :
       {"Linear(64,4)", "Linear(64,4,bias=false)", "Linear(64,16) ReLU Linear(16,4)", "Linear(64,16) Tanh Linear(16,4)",
        "Linear(64,17) Sigmoid Linear(17,5)", "Linear(64,16) GELU Linear(16,4)",
        "Flatten Linear(64,33,bias=false) ReLU Linear(33,9) Tanh Linear(9,4) LogSoftmax"}) {
    SCOPED_TRACE(text);
    const OptimizerOptions sgd = default_optimizer("sgd");
    const at::Tensor wanted = train(text, false, sgd, 0.1, false);
    expect_close(train(text, true, sgd, 0.1, false), wanted, 1e-5);
    expect_close(train(text, true, sgd, 0.1, true), wanted, 1e-5);
  }
}

TEST_F(FusedStep, EachOptimizerTrainsAsWithAutograd) {
  const char* text = "Linear(64,16) Tanh Linear(16,4)";
  for (const char* name : {"sgd", "adam", "adamw", "adagrad", "rmsprop"}) {
    SCOPED_TRACE(name);
    OptimizerOptions options = default_optimizer(name);
    if (options.kind == OptimizerKind::sgd) options.momentum = 0.9;
    // Adaptive steps divide by roots of small numbers, which magnifies a rounding difference.
    expect_close(train(text, true, options, 0.01, false), train(text, false, options, 0.01, false), 2e-4);
  }
}

TEST_F(FusedStep, TakesChainsOfItsLayersAlone) {
  EXPECT_TRUE(is_taken(parse_model("Linear(64,8) ReLU Linear(8,4)")));
  EXPECT_FALSE(is_taken(parse_model("Linear(64,8) Dropout(0.5) Linear(8,4)")));
  EXPECT_FALSE(is_taken(parse_model("Conv2d(1,2,3) Flatten Linear(72,4)")));
  EXPECT_FALSE(is_taken(parse_model("Linear(64,8) LogSoftmax Linear(8,4)")));
  EXPECT_FALSE(is_taken(parse_model("ReLU Linear(64,4)")));
  EXPECT_FALSE(is_taken(parse_model("Linear(64,4) ReLU")));
  EXPECT_FALSE(is_taken(parse_model("Linear(65,4)"))) << "samples have 64 numbers";
  EXPECT_FALSE(is_taken(parse_model("Linear(64,3)"))) << "there are four classes";
}

TEST_F(FusedStep, AFrozenParameterIsLeftToAutograd) {
  Model model = parse_model("Linear(64,8) ReLU Linear(8,4)");
  model.module->parameters()[0].set_requires_grad(false);
  EXPECT_FALSE(is_taken(std::move(model)));
}

TEST_F(FusedStep, AModelWhoseForwardWasReplacedIsLeftToAutograd) {
  Model model = parse_model("Linear(64,4)");
  model.forward = [forward = model.forward](const at::Tensor& input) { return forward(input * 2); };
  EXPECT_FALSE(is_taken(std::move(model)));
}

TEST_F(FusedStep, ALossThatIsNoNumberIsToldBeforeAnythingIsUpdated) {
  const Dataset data = small_data();
  SharedModel model = shared_model("Linear(64,8) ReLU Linear(8,4)");
  model.parameters()[2].detach().fill_(std::nanf(""));
  const auto step = make_fused_step(model, buffer_for(data, model), kBatch);
  EpochSampler sampler(data.size(), kBatch, 3);
  EXPECT_TRUE(std::isnan(step->forward(sampler.batch(0))));
}

}  // namespace
}  // namespace hogpen
