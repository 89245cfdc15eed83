#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/fused_layers.h"
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
  at::manual_seed(5);
  return in_shared_memory(parse_model(text));
}

bool is_taken(Model model) {
  const Dataset data = small_data();
  SharedModel shared = in_shared_memory(std::move(model));
  return can_fuse(shared, data);
}

/// What a worker of its own does.
at::Tensor train(const std::string& text, bool is_fused, const OptimizerOptions& options, double lr, bool updates,
                 const Dataset& data = small_data()) {
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
        "Linear(64,17) Sigmoid Linear(17,5)", "Linear(64,16) GELU Linear(16,4)", "ReLU Linear(64,4) Tanh",
        "Flatten Linear(64,33,bias=false) ReLU Linear(33,9) Tanh Linear(9,4) LogSoftmax", "Conv2d(1,4,8) Flatten",
        "Conv2d(1,5,3) Tanh Flatten Linear(180,4)",
        "Conv2d(1,5,3,stride=2,padding=1) GELU Conv2d(5,3,2) Sigmoid Flatten Linear(27,4)",
        "Sigmoid MaxPool2d(2,1) Conv2d(1,6,3,padding=2) MaxPool2d(2) ReLU Flatten Linear(96,4) LogSoftmax"}) {
    SCOPED_TRACE(text);
    const OptimizerOptions sgd = default_optimizer("sgd");
    const at::Tensor wanted = train(text, false, sgd, 0.1, false);
    expect_close(train(text, true, sgd, 0.1, false), wanted, 3e-5);
    expect_close(train(text, true, sgd, 0.1, true), wanted, 3e-5);
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

TEST_F(FusedStep, ASmoothConvnetTrainsAsWithAutogradByEachOptimizer) {
  const char* text =
      "Conv2d(1,10,5,stride=2) Tanh Conv2d(10,20,5,stride=2) Tanh Flatten Linear(320,50) Sigmoid Linear(50,10)";
  const Dataset data = Dataset::synthetic(1000, 28, 28, 10, 1);
  for (const char* name : {"sgd", "adam", "adamw", "adagrad", "rmsprop"}) {
    SCOPED_TRACE(name);
    OptimizerOptions options = default_optimizer(name);
    if (options.kind == OptimizerKind::sgd) options.momentum = 0.5;
    options.eps = 1e-3;  // A gradient of nothing but rounding errors shall make no step.
    expect_close(train(text, true, options, 0.001, false, data), train(text, false, options, 0.001, false, data), 2e-5);
  }
}

// The place of a maximum, and whether ReLU lets pass, can hang on a rounding error: autograd is as far as 8e-4 from
// itself when it begins with parameters that are 2e-7 larger.
TEST_F(FusedStep, TheConvnetOfMnistHogwildTrainsAsWithAutograd) {
  const char* text =
      "Conv2d(1,10,5) MaxPool2d(2) ReLU Conv2d(10,20,5) Dropout2d(0) MaxPool2d(2) ReLU Flatten Linear(320,50) ReLU "
      "Dropout(0) Linear(50,10) LogSoftmax";
  const Dataset data = Dataset::synthetic(1000, 28, 28, 10, 1);
  const OptimizerOptions sgd = default_optimizer("sgd");
  const at::Tensor wanted = train(text, false, sgd, 0.05, false, data);
  expect_close(train(text, true, sgd, 0.05, false, data), wanted, 3e-3);
  expect_close(train(text, true, sgd, 0.05, true, data), wanted, 3e-3);
}

TEST_F(FusedStep, TakesWhatAModelsTextSaysWhereItFitsTheData) {
  EXPECT_TRUE(is_taken(parse_model("Linear(64,8) ReLU Linear(8,4)")));
  EXPECT_TRUE(is_taken(parse_model("Linear(64,8) Dropout(0.5) Linear(8,4)")));
  EXPECT_TRUE(is_taken(parse_model("Dropout2d Conv2d(1,2,3) Dropout2d Flatten Linear(72,4)")));
  EXPECT_FALSE(is_taken(parse_model("Linear(64,8) LogSoftmax Linear(8,4)")));
  EXPECT_FALSE(is_taken(parse_model("Linear(65,4)"))) << "samples have 64 numbers";
  EXPECT_FALSE(is_taken(parse_model("Linear(64,3)"))) << "there are four classes";
  EXPECT_FALSE(is_taken(parse_model("Conv2d(1,2,3) Flatten Linear(71,4)")));
  EXPECT_FALSE(is_taken(parse_model("Conv2d(3,2,3) Flatten Linear(72,4)"))) << "images have one channel";
  EXPECT_FALSE(is_taken(parse_model("Conv2d(1,4,9) Flatten"))) << "images are 8 wide";
  EXPECT_FALSE(is_taken(parse_model("Conv2d(1,4,3) MaxPool2d(7) Flatten")));
  EXPECT_FALSE(is_taken(parse_model("Conv2d(1,4,8)"))) << "the loss takes rows, not images";
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

class FusedDropout : public FusedStep {
 protected:
  static constexpr std::size_t kRows = 2000;

  /// What becomes of ones: the mask.
  std::vector<float> forward(const std::string& text) {
    const SharedModel model = in_shared_memory(parse_model(text + " Flatten Linear(20,4)"));
    const Dataset data = Dataset::synthetic(1, kShape.height, kShape.width, 4, 1);
    layer_ = make_fused_dropout(detail::plan_fused_layers(model, data).at(0), kRows);
    return forward();
  }
  std::vector<float> forward() {
    const std::vector<float> ones(kRows * kShape.numel(), 1.0F);
    std::vector<float> output(ones.size());
    layer_->forward({ones.data(), output.data(), kRows});
    return output;
  }
  /// And of a gradient of ones.
  std::vector<float> backward() {
    std::vector<float> gradient(kRows * kShape.numel(), 1.0F);
    EXPECT_EQ(layer_->backward({nullptr, nullptr, kRows}, gradient.data(), nullptr), gradient.data());
    return gradient;
  }

  static constexpr detail::SampleShape kShape = {.channels = 1, .height = 4, .width = 5, .is_image = true};

 private:
  std::unique_ptr<detail::FusedLayer> layer_;
};

TEST_F(FusedDropout, AGradientIsMaskedAsTheNumbersWereAndEachStepDrawsAnotherMask) {
  for (const char* text : {"Dropout(0.25)", "Dropout2d(0.25)"}) {
    at::manual_seed(9);
    const auto first = forward(text);
    EXPECT_EQ(backward(), first) << text;
    const auto second = forward();
    EXPECT_EQ(backward(), second) << text;
    EXPECT_NE(first, second) << text;
  }
}

TEST_F(FusedDropout, DropsTheShareThatItShould) {
  at::manual_seed(9);
  for (const auto& [text, deviation] : {std::pair("Dropout(0.25)", 0.0022), std::pair("Dropout2d(0.25)", 0.0097)}) {
    const auto mask = forward(text);
    const auto dropped = static_cast<double>(std::count(mask.begin(), mask.end(), 0.0F));
    EXPECT_NEAR(dropped / static_cast<double>(mask.size()), 0.25, 3 * deviation) << text;
  }
}

TEST_F(FusedDropout, Dropout2dDropsWholeChannelsAndDropoutDoesNot) {
  at::manual_seed(9);
  const auto broken_channels = [](const std::vector<float>& mask) {
    constexpr std::size_t kArea = kShape.height * kShape.width;
    std::size_t broken = 0;
    for (std::size_t i = 0; i < mask.size(); ++i) broken += mask[i] != mask[i / kArea * kArea] ? 1 : 0;
    return broken;
  };
  EXPECT_EQ(broken_channels(forward("Dropout2d(0.5)")), 0U);
  EXPECT_GT(broken_channels(forward("Dropout(0.5)")), 0U);
}

TEST_F(FusedDropout, MasksFollowFromTheSeedOfTheWorker) {
  at::manual_seed(9);
  const auto first = forward("Dropout");
  EXPECT_NE(forward("Dropout"), first) << "a second layer of the same worker";
  at::manual_seed(10);
  EXPECT_NE(forward("Dropout"), first);
  at::manual_seed(9);
  EXPECT_EQ(forward("Dropout"), first);
}

TEST_F(FusedDropout, WithPZeroTrainsAsWithout) {
  const OptimizerOptions sgd = default_optimizer("sgd");
  const at::Tensor without = train("Conv2d(1,4,3) ReLU Flatten Linear(144,4)", true, sgd, 0.1, true);
  EXPECT_TRUE(at::equal(train("Conv2d(1,4,3) Dropout2d(0) ReLU Flatten Dropout(0) Linear(144,4)", true, sgd, 0.1, true),
                        without));
}

}  // namespace
}  // namespace hogpen
