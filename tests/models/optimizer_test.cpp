#include "models/optimizer.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <barrier>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "runtime/core/error.h"
#include "tests/expect_throw.h"
#include "tests/models/flat_model.h"

namespace hogpen {
namespace {

using kernels::Write;

constexpr int kSteps = 20;

TEST(Optimizer, PrivateStateKeepsWorkersApart) {
  FlatModel model;
  FlatModel alone;
  OptimizerOptions options = default_optimizer("adam");
  const Arena state = make_state(options, model, 2);
  const std::vector<at::Tensor> gradients = model.random_gradients();
  for (int i = 0; i < 3; ++i) Optimizer(options, model.flat, state, 0, Write::plain).step(0.1, model.slices, gradients);

  model.flat.copy_(alone.flat);
  Optimizer(options, model.flat, state, 1, Write::plain).step(0.1, model.slices, gradients);
  Optimizer(options, alone.flat, make_state(options, alone, 1), 0, Write::plain).step(0.1, alone.slices, gradients);

  EXPECT_TRUE(at::equal(model.flat, alone.flat)) << "rank 1's first step depends on rank 0's state";
  EXPECT_EQ(state.tensor("step")[0].item<std::int64_t>(), 3);
  EXPECT_EQ(state.tensor("step")[1].item<std::int64_t>(), 1);
}

TEST(Optimizer, SharedStateIsTheSameForEveryRank) {
  FlatModel together;
  FlatModel alone;
  OptimizerOptions options = default_optimizer("adam");
  options.state = StateSharing::shared;
  const Arena state = make_state(options, together, 2);
  Optimizer single(options, alone.flat, make_state(options, alone, 1), 0, Write::plain);
  for (int step = 0; step < kSteps; ++step) {
    const std::vector<at::Tensor> gradients = alone.random_gradients();
    single.step(0.01, alone.slices, gradients);
    Optimizer(options, together.flat, state, step % 2, Write::plain).step(0.01, together.slices, gradients);
  }
  EXPECT_TRUE(at::equal(together.flat, alone.flat));
  EXPECT_EQ(state.tensor("step").numel(), 1);
  EXPECT_EQ(single.steps(), kSteps);
}

constexpr int kWorkers = 4;
constexpr int kStepsEach = 20'000;

/// `kWorkers` threads at the same time, each with its own Optimizer, take `kStepsEach` steps with one value for every
/// gradient.
void train_on_threads(const OptimizerOptions& options, FlatModel& model, const Arena& state, Write write, double lr,
                      double gradient) {
  std::barrier start(kWorkers);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < kWorkers; ++rank) {
    threads.emplace_back([&, rank] {
      Optimizer optimizer(options, model.flat, state, rank, write);
      std::vector<at::Tensor> gradients;
      for (const FlatSlice& slice : model.slices) gradients.push_back(at::full({slice.numel}, gradient));
      start.arrive_and_wait();
      for (int i = 0; i < kStepsEach; ++i) optimizer.step(lr, model.slices, gradients);
    });
  }
}

// Every step adds 1; sums below 2^24 are exact in float.
TEST(OptimizerRace, AtomicLosesNoUpdateOfFourWorkers) {
  FlatModel model;
  model.flat.zero_();
  const OptimizerOptions options = default_optimizer("sgd");
  train_on_threads(options, model, make_state(options, model, kWorkers), Write::atomic, 1.0, -1.0);
  for (std::size_t i = 0; i < model.slices.size(); ++i) {
    EXPECT_TRUE(model.parameter(i).eq(kWorkers * kStepsEach).all().item<bool>()) << "parameter " << i;
  }
}

TEST(OptimizerRace, AtomicLosesNoUpdateOfSharedStateAndNoStep) {
  FlatModel model;
  OptimizerOptions options = default_optimizer("adagrad");
  options.state = StateSharing::shared;
  const Arena state = make_state(options, model, kWorkers);
  train_on_threads(options, model, state, Write::atomic, 0.01, 1.0);
  EXPECT_EQ(state.tensor("step").item<std::int64_t>(), kWorkers * kStepsEach);
  const at::Tensor sum = state.tensor("sum")[0];
  for (const FlatSlice& slice : model.slices) {
    EXPECT_TRUE(sum.narrow(0, slice.offset, slice.numel).eq(kWorkers * kStepsEach).all().item<bool>());
  }
}

TEST(OptimizerRace, PlainMayLoseUpdatesButNeverTearsAFloat) {
  FlatModel model;
  model.flat.zero_();
  const OptimizerOptions options = default_optimizer("sgd");
  train_on_threads(options, model, make_state(options, model, kWorkers), Write::plain, 1.0, -1.0);
  for (std::size_t i = 0; i < model.slices.size(); ++i) {
    const at::Tensor values = model.parameter(i);
    EXPECT_TRUE(values.eq(values.floor()).all().item<bool>());
    EXPECT_TRUE(values.ge(1).logical_and(values.le(kWorkers * kStepsEach)).all().item<bool>());
  }
}

TEST(Optimizer, SkipsAnUndefinedGradient) {
  FlatModel model;
  const at::Tensor before = model.flat.clone();
  const OptimizerOptions options = default_optimizer("sgd");
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  std::vector<at::Tensor> gradients = model.random_gradients();
  gradients[2] = at::Tensor();
  optimizer.step(0.1, model.slices, gradients);
  EXPECT_TRUE(at::equal(model.parameter(2), before.narrow(0, 64, 130)));
  EXPECT_FALSE(at::equal(model.parameter(3), before.narrow(0, 208, 16)));
}

TEST(Optimizer, AStepWithoutParametersOnlyCounts) {
  FlatModel model;
  const at::Tensor before = model.flat.clone();
  const OptimizerOptions options = default_optimizer("adam");
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  optimizer.step(0.1, {}, {});
  EXPECT_EQ(optimizer.steps(), 1);
  EXPECT_TRUE(at::equal(model.flat, before));
}

TEST(Optimizer, NamesItsStateAsTorchOptimDoes) {
  const auto names = [](const OptimizerOptions& options) {
    std::string joined;
    for (const TensorSpec& spec : Optimizer::state_specs(options, 100, 3)) joined += spec.name + " ";
    return joined;
  };
  EXPECT_EQ(names({.kind = OptimizerKind::sgd}), "step ");
  EXPECT_EQ(names({.kind = OptimizerKind::sgd, .momentum = 0.9}), "momentum_buffer step ");
  EXPECT_EQ(names({.kind = OptimizerKind::adam}), "exp_avg exp_avg_sq step ");
  EXPECT_EQ(names({.kind = OptimizerKind::adamw}), "exp_avg exp_avg_sq step ");
  EXPECT_EQ(names({.kind = OptimizerKind::adagrad}), "sum step ");
  EXPECT_EQ(names({.kind = OptimizerKind::rmsprop}), "square_avg step ");
  EXPECT_EQ(names({.kind = OptimizerKind::rmsprop, .momentum = 0.9}), "square_avg momentum_buffer step ");
}

TEST(Optimizer, HasOneRowOfStateAWorkerOrOneForAll) {
  OptimizerOptions options = default_optimizer("adagrad");
  EXPECT_EQ(Optimizer::state_specs(options, 100, 3).at(0).shape, (std::vector<std::int64_t>{3, 100}));
  EXPECT_EQ(Optimizer::state_specs(options, 100, 3).at(1).shape, (std::vector<std::int64_t>{3}));
  options.state = StateSharing::shared;
  EXPECT_EQ(Optimizer::state_specs(options, 100, 3).at(0).shape, (std::vector<std::int64_t>{1, 100}));
}

void expect_refused(const std::string& part, const std::function<void()>& action) {
  expect_throw<UsageError>(part, action);
}

TEST(Optimizer, RefusesStateThatIsNotOfTheseOptions) {
  FlatModel model;
  const Arena state = make_state(default_optimizer("adagrad"), model, 2);
  const auto make = [&](const OptimizerOptions& options, const at::Tensor& flat, int rank) {
    Optimizer(options, flat, state, rank, Write::plain);
  };
  expect_refused("exp_avg", [&] { make(default_optimizer("adam"), model.flat, 0); });
  expect_refused("'sum' is Float [2, 256]", [&] { make(default_optimizer("adagrad"), at::zeros({255}), 0); });
  expect_refused("rank is 2", [&] { make(default_optimizer("adagrad"), model.flat, 2); });
  expect_refused("rank is -1", [&] { make(default_optimizer("adagrad"), model.flat, -1); });
  expect_refused("1-D float32", [&] { make(default_optimizer("adagrad"), at::zeros({256}, at::kDouble), 0); });
  expect_refused("1-D float32", [&] { make(default_optimizer("adagrad"), at::zeros({2, 128}), 0); });
  EXPECT_NO_THROW(make(default_optimizer("adagrad"), model.flat, 1));
}

TEST(Optimizer, RefusesGradientsThatDoNotFitBeforeItUpdatesAnything) {
  FlatModel model;
  const at::Tensor before = model.flat.clone();
  const OptimizerOptions options = default_optimizer("sgd");
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  const auto step_with = [&](const at::Tensor& last) {
    std::vector<at::Tensor> gradients = model.random_gradients();
    gradients.back() = last;
    optimizer.step(0.1, model.slices, gradients);
  };
  expect_refused("17 elements", [&] { step_with(at::zeros({17})); });
  expect_refused("contiguous float32", [&] { step_with(at::zeros({16}, at::kDouble)); });
  expect_refused("contiguous float32", [&] { step_with(at::zeros({32}).slice(0, 0, 32, 2)); });
  expect_refused("4 slices", [&] { optimizer.step(0.1, model.slices, {}); });
  const std::vector<FlatSlice> outside = {{250, 7}};
  const std::vector<at::Tensor> seven = {at::zeros({7})};
  expect_refused("outside", [&] { optimizer.step(0.1, outside, seven); });
  EXPECT_TRUE(at::equal(model.flat, before));
  EXPECT_EQ(optimizer.steps(), 0);
}

TEST(OptimizerOptions, ACheckNamesTheFieldThatMakesNoSense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto check = [](const OptimizerOptions& options) { return [options] { options.check(); }; };
  expect_refused("momentum", check({.momentum = -0.1}));
  expect_refused("momentum", check({.momentum = nan}));
  expect_refused("dampening", check({.momentum = 0.9, .dampening = nan}));
  expect_refused("nesterov", check({.nesterov = true}));
  expect_refused("nesterov", check({.momentum = 0.9, .dampening = 0.1, .nesterov = true}));
  expect_refused("weight_decay", check({.weight_decay = -1.0}));
  expect_refused("beta1", check({.kind = OptimizerKind::adam, .beta1 = 1.0}));
  expect_refused("beta2", check({.kind = OptimizerKind::adamw, .beta2 = -0.1}));
  expect_refused("alpha", check({.kind = OptimizerKind::rmsprop, .alpha = 1.0}));
  expect_refused("eps", check({.kind = OptimizerKind::adam, .eps = -1e-8}));
  expect_refused("lr_decay", check({.kind = OptimizerKind::adagrad, .lr_decay = -0.1}));
}

TEST(OptimizerOptions, ACheckNamesAFieldThatThisKindDoesNotUse) {
  const auto check = [](const OptimizerOptions& options) { return [options] { options.check(); }; };
  expect_refused("adam does not use it", check({.kind = OptimizerKind::adam, .momentum = 0.9}));
  expect_refused("dampening", check({.kind = OptimizerKind::rmsprop, .momentum = 0.9, .dampening = 0.1}));
  expect_refused("nesterov", check({.kind = OptimizerKind::rmsprop, .momentum = 0.9, .nesterov = true}));
  expect_refused("lr_decay", check({.kind = OptimizerKind::sgd, .lr_decay = 0.1}));
}

TEST(OptimizerOptions, NamesGoBothWaysAndDefaultsPassTheCheck) {
  for (const std::string name : {"sgd", "adam", "adamw", "adagrad", "rmsprop"}) {
    const OptimizerOptions options = default_optimizer(name);
    EXPECT_EQ(to_string(options.kind), name);
    EXPECT_NO_THROW(options.check());
  }
  expect_refused("'sdg' is unknown", [] { (void)default_optimizer("sdg"); });
}

}  // namespace
}  // namespace hogpen
