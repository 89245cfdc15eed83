#include "models/optimizer.h"

#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "tests/models/flat_model.h"

namespace {

thread_local std::int64_t allocations = 0;

}  // namespace

// Not inlined: gcc would then see malloc behind new and warn of every delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace hogpen {
namespace {

using kernels::Write;
using TorchOptimizer = std::unique_ptr<torch::optim::Optimizer>;

constexpr int kSteps = 20;

/// Options of ours, and LibTorch's own optimizer with the same.
struct Case {
  std::string name;
  double lr = 0.0;
  OptimizerOptions options;
  std::function<TorchOptimizer(std::vector<torch::Tensor>)> torch_optimizer;
};

std::ostream& operator<<(std::ostream& out, const Case& one) {
  return out << one.name;
}

template <class Optimizer, class Options>
Case make_case(const std::string& name, const OptimizerOptions& options, const Options& torch_options) {
  return {name, torch_options.get_lr(), options, [torch_options](std::vector<torch::Tensor> parameters) {
            return std::make_unique<Optimizer>(std::move(parameters), torch_options);
          }};
}

std::vector<Case> sgd_cases() {
  using torch::optim::SGD;
  const auto make = make_case<SGD, torch::optim::SGDOptions>;
  const auto kind = OptimizerKind::sgd;
  return {
      make("sgd", {.kind = kind}, {0.1}),
      make("sgd_decay", {.kind = kind, .weight_decay = 0.05}, torch::optim::SGDOptions(0.1).weight_decay(0.05)),
      make("sgd_momentum", {.kind = kind, .momentum = 0.9}, torch::optim::SGDOptions(0.1).momentum(0.9)),
      make("sgd_dampening", {.kind = kind, .momentum = 0.9, .dampening = 0.4, .weight_decay = 0.05},
           torch::optim::SGDOptions(0.1).momentum(0.9).dampening(0.4).weight_decay(0.05)),
      make("sgd_nesterov", {.kind = kind, .momentum = 0.8, .nesterov = true, .weight_decay = 0.05},
           torch::optim::SGDOptions(0.1).momentum(0.8).nesterov(true).weight_decay(0.05)),
  };
}

std::vector<Case> adam_cases() {
  using Adam = torch::optim::AdamOptions;
  using AdamW = torch::optim::AdamWOptions;
  const auto adam = make_case<torch::optim::Adam, Adam>;
  const auto adamw = make_case<torch::optim::AdamW, AdamW>;
  return {
      adam("adam", default_optimizer("adam"), Adam(0.01)),
      adam("adam_decay", {.kind = OptimizerKind::adam, .weight_decay = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3},
           Adam(0.01).betas({0.8, 0.95}).eps(1e-3).weight_decay(0.05)),
      adamw("adamw", default_optimizer("adamw"), AdamW(0.01)),
      adamw("adamw_decay", {.kind = OptimizerKind::adamw, .weight_decay = 0.3}, AdamW(0.01).weight_decay(0.3)),
  };
}

std::vector<Case> other_cases() {
  using Adagrad = torch::optim::AdagradOptions;
  using RMSprop = torch::optim::RMSpropOptions;
  const auto adagrad = make_case<torch::optim::Adagrad, Adagrad>;
  const auto rmsprop = make_case<torch::optim::RMSprop, RMSprop>;
  return {
      adagrad("adagrad", default_optimizer("adagrad"), Adagrad(0.05)),
      adagrad("adagrad_decays", {.kind = OptimizerKind::adagrad, .weight_decay = 0.05, .eps = 1e-4, .lr_decay = 0.1},
              Adagrad(0.05).weight_decay(0.05).eps(1e-4).lr_decay(0.1)),
      rmsprop("rmsprop", default_optimizer("rmsprop"), RMSprop(0.01)),
      rmsprop("rmsprop_momentum",
              {.kind = OptimizerKind::rmsprop, .momentum = 0.9, .weight_decay = 0.05, .alpha = 0.95, .eps = 1e-4},
              RMSprop(0.01).momentum(0.9).weight_decay(0.05).alpha(0.95).eps(1e-4)),
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> cases = sgd_cases();
  for (Case& one : adam_cases()) cases.push_back(std::move(one));
  for (Case& one : other_cases()) cases.push_back(std::move(one));
  return cases;
}

class OptimizerKinds : public testing::TestWithParam<Case> {};

// LibTorch uses fused multiply-adds, hogpen none. The largest difference after 20 steps, over all cases, is 2.8 epsilon
// of 1 + the value's magnitude.
TEST_P(OptimizerKinds, FollowsLibTorchsOwn) {
  FlatModel model;
  std::vector<torch::Tensor> expected;
  for (std::size_t i = 0; i < model.slices.size(); ++i) expected.push_back(model.parameter(i).clone());
  const TorchOptimizer reference = GetParam().torch_optimizer(expected);
  const OptimizerOptions options = GetParam().options;
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);

  for (int step = 0; step < kSteps; ++step) {
    const std::vector<torch::Tensor> gradients = model.random_gradients();
    for (std::size_t i = 0; i < gradients.size(); ++i) expected[i].mutable_grad() = gradients[i].clone();
    reference->step();
    optimizer.step(GetParam().lr, model.slices, gradients);
  }

  constexpr double kTolerance = 6 * std::numeric_limits<float>::epsilon();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(torch::allclose(model.parameter(i), expected[i], kTolerance, kTolerance))
        << "parameter " << i << " is off by " << (model.parameter(i) - expected[i]).abs().max().item<float>();
  }
}

TEST_P(OptimizerKinds, LeavesWhatLiesBetweenTheParametersAlone) {
  FlatModel model;
  const OptimizerOptions options = GetParam().options;
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  optimizer.step(GetParam().lr, model.slices, model.random_gradients());
  const std::vector<FlatSlice> gaps = {{35, 13}, {49, 15}, {194, 14}, {224, 32}};
  for (const FlatSlice& gap : gaps) {
    EXPECT_TRUE(model.flat.narrow(0, gap.offset, gap.numel).eq(FlatModel::kGap).all().item<bool>()) << gap.offset;
  }
}

TEST_P(OptimizerKinds, GoesOnExactlyInANewObjectOnTheSameState) {
  FlatModel whole;
  FlatModel halves;
  const OptimizerOptions options = GetParam().options;
  Optimizer optimizer(options, whole.flat, make_state(options, whole, 1), 0, Write::plain);
  const Arena state = make_state(options, halves, 1);
  for (int step = 0; step < kSteps; ++step) {
    Optimizer fresh(options, halves.flat, state, 0, Write::plain);
    const std::vector<torch::Tensor> gradients = whole.random_gradients();
    optimizer.step(GetParam().lr, whole.slices, gradients);
    fresh.step(GetParam().lr, halves.slices, gradients);
  }
  EXPECT_TRUE(torch::equal(whole.flat, halves.flat));
}

TEST_P(OptimizerKinds, AllocatesNothingAndDispatchesNoTensorOperation) {
  static thread_local int operations;
  operations = 0;
  FlatModel model;
  const OptimizerOptions options = GetParam().options;
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  const std::vector<torch::Tensor> gradients = model.random_gradients();
  const auto count = [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> {
    ++operations;
    return nullptr;
  };
  const auto observer = at::addThreadLocalCallback(at::RecordFunctionCallback(count));
  const std::int64_t before = allocations;
  optimizer.step(GetParam().lr, model.slices, gradients);
  const std::int64_t allocated = allocations - before;
  const int dispatched = operations;
  (void)model.flat.clone();
  at::removeCallback(observer);

  EXPECT_EQ(allocated, 0);
  EXPECT_EQ(dispatched, 0);
  EXPECT_GT(allocations, before) << "the test counts no allocation at all";
  EXPECT_GT(operations, 0) << "the test counts no operation at all";
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(Each, OptimizerKinds, testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace hogpen
