// An Optimizer on the fake driver, with kernels that run on the host when they are launched.
#include <ATen/ops/zeros.h>

#include <functional>

#include "runtime/core/error.h"
#include "tests/expect_throw.h"
#include "tests/fake_cuda/fake_kernels.h"
#include "tests/fake_cuda/of_fake.h"
#include "tests/models/current_stream.h"
#include "tests/models/optimizer_on_gpu.h"

namespace hogpen {
namespace {

void expect_refused(const std::string& part, const std::function<void()>& action) {
  expect_throw<UsageError>(part, action);
}

TEST(GpuOptimizer, RefusesGradientsThatDoNotFitBeforeItUpdatesAnything) {
  TwinModel twin(default_optimizer("sgd"), 1);
  Optimizer optimizer(default_optimizer("sgd"), twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain);
  const auto enqueue_with = [&](const at::Tensor& last) {
    std::vector<at::Tensor> gradients = twin.gradients_on_gpu;
    gradients.back() = last;
    optimizer.enqueue(twin.model.slices, gradients);
  };
  const Twin others({{"long", c10::ScalarType::Float, {17}}, {"whole", c10::ScalarType::Long, {16}}});
  const Arena elsewhere = others.host.on(others.host.device_memory(1));
  expect_refused("17 elements", [&] { enqueue_with(others.gpu.tensor("long")); });
  expect_refused("contiguous float32 tensor on GPU 0", [&] { enqueue_with(others.gpu.tensor("whole")); });
  expect_refused("contiguous float32 tensor on GPU 0", [&] { enqueue_with(at::zeros({16})); });
  expect_refused("contiguous float32 tensor on GPU 0", [&] { enqueue_with(elsewhere.flat(0, 64)); });
  expect_refused("4 slices", [&] { optimizer.enqueue(twin.model.slices, {}); });
  expect_refused("4 slices", [&] { optimizer.step(0.1, twin.model.slices, {}); });
  const std::vector<FlatSlice> outside = {{250, 17}};
  const std::vector<at::Tensor> seventeen = {others.gpu.tensor("long")};
  expect_refused("outside", [&] { optimizer.enqueue(outside, seventeen); });
  EXPECT_EQ(optimizer.steps(), 0);
  twin.expect_equal();
}

TEST(GpuOptimizer, RefusesStateThatIsElsewhere) {
  const OptimizerOptions options = default_optimizer("adam");
  TwinModel twin(options, 1);
  const Arena elsewhere = twin.state.host.on(twin.state.host.device_memory(1));
  const auto make = [&](const at::Tensor& flat, const Arena& state) {
    return [&options, flat, state] { Optimizer(options, flat, state, 0, Write::plain); };
  };
  expect_refused("on GPU 0, but it lies on the CPU", make(twin.flat_on_gpu(), twin.state.host));
  expect_refused("on GPU 0, but it lies on GPU 1", make(twin.flat_on_gpu(), elsewhere));
  expect_refused("on the CPU, but it lies on GPU 1", make(twin.model.flat, elsewhere));
  EXPECT_NO_THROW(make(twin.flat_on_gpu(), twin.state.gpu)());
}

TEST(GpuOptimizer, OnTheCpuThereIsNothingToEnqueue) {
  FlatModel model;
  const OptimizerOptions options = default_optimizer("sgd");
  Optimizer optimizer(options, model.flat, make_state(options, model, 1), 0, Write::plain);
  const std::vector<at::Tensor> gradients = model.random_gradients();
  expect_refused("lie on the CPU", [&] { optimizer.enqueue(model.slices, gradients); });
  expect_refused("lie on the CPU", [&] { optimizer.set_lr(0.1); });
  expect_refused("float32 tensor on the CPU", [&] {
    optimizer.step(0.1, std::vector<FlatSlice>{{0, 4}},
                   std::vector<at::Tensor>{Twin({{"four", c10::ScalarType::Float, {4}}}).gpu.tensor("four")});
  });
  EXPECT_EQ(optimizer.steps(), 0);
}

TEST(GpuOptimizer, CountsTheStepsOfPlainSgdThatOthersMake) {
  const OptimizerOptions options = default_optimizer("sgd");
  TwinModel twin(options, 1);
  Optimizer optimizer(options, twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain);
  EXPECT_TRUE(optimizer.is_plain_sgd());
  optimizer.count_step();
  optimizer.count_step();
  EXPECT_EQ(optimizer.steps(), 2);
}

TEST(GpuOptimizer, ReadsTheLearningRateWhenAStepRuns) {
  const OptimizerOptions options = default_optimizer("sgd");
  TwinModel twin(options, 1);
  Optimizer optimizer(options, twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain);
  optimizer.enqueue(twin.model.slices, twin.gradients_on_gpu);
  twin.parameters.to_host();
  EXPECT_TRUE(at::equal(twin.parameters.host.tensor("flat"), twin.model.flat)) << "it is 0 at first";
  optimizer.set_lr(0.25);
  optimizer.enqueue(twin.model.slices, twin.gradients_on_gpu);
  twin.parameters.to_host();
  EXPECT_FALSE(at::equal(twin.parameters.host.tensor("flat"), twin.model.flat));
}

TEST(GpuOptimizer, TakesTheLearningRateFromTheGpuWhereThatIsSaid) {
  const OptimizerOptions options = default_optimizer("sgd");
  TwinModel twin(options, 1);
  Optimizer optimizer(options, twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain);
  optimizer.set_lr(0.5);
  double there = 0.25;  // an address of the fake GPU is one of the host
  optimizer.enqueue(twin.model.slices, twin.gradients_on_gpu, {.lr = &there});
  twin.parameters.to_host();
  const at::Tensor found = twin.parameters.host.tensor("flat").clone();
  TwinModel other(options, 1);
  Optimizer(options, other.flat_on_gpu(), other.state.gpu, 0, Write::plain)
      .step(0.25, other.model.slices, other.gradients_on_gpu);
  other.parameters.to_host();
  EXPECT_TRUE(at::equal(found, other.parameters.host.tensor("flat")));
}

TEST(GpuOptimizer, LaunchesOnLibTorchsCurrentStream) {
  const OptimizerOptions options = default_optimizer("sgd");
  TwinModel twin(options, 1);
  Optimizer optimizer(options, twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain);
  cuda::Stream here = nullptr;
  cuda_driver().call("cuStreamCreate", &here, cuda::kNonBlocking);
  CurrentStream::set(here);
  optimizer.enqueue(twin.model.slices, twin.gradients_on_gpu);
  CurrentStream::set(nullptr);
  EXPECT_EQ(static_cast<void*>(kernels::stream_of_last_launch()), here);
  cuda_driver().call("cuStreamSynchronize", here);
  cuda_driver().call("cuStreamDestroy_v2", here);
  optimizer.enqueue({}, {});
  EXPECT_EQ(kernels::stream_of_last_launch(), nullptr);
}

TEST(GpuOptimizer, GivesItsMemoryBackAlsoWhenItCannotBeMade) {
  const OptimizerOptions options = default_optimizer("adam");
  TwinModel twin(options, 1);
  const auto make = [&] { Optimizer(options, twin.flat_on_gpu(), twin.state.gpu, 0, Write::plain); };
  make();
  auto* const live = of_fake<int()>("fake_driver_live");
  auto* const calls = of_fake<int()>("fake_driver_calls");
  auto* const fail_call = of_fake<void(int)>("fake_driver_fail_call");
  const int live_before = live();
  const int calls_before = calls();
  make();
  const int most = calls() - calls_before;
  EXPECT_EQ(live(), live_before);
  int failures = 0;
  for (int call = 1; call <= most; ++call) {
    fail_call(call);
    try {
      make();
    } catch (const CudaError&) {
      ++failures;
      EXPECT_EQ(live(), live_before) << "call " << call << " of " << most << " failed";
    }
  }
  EXPECT_GE(failures, 3) << "two allocations and a copy";
}

}  // namespace
}  // namespace hogpen
