#pragma once

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/memory/cuda_stream.h"
#include "tests/models/flat_model.h"

// What an Optimizer does on a GPU, compared with the CPU. One body: for the fake driver, with kernels that run on the
// host, and for a real GPU. A real one's numbers come through driver calls alone, so that LibTorch needs no CUDA.
namespace hogpen {

using kernels::Write;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The same tensors on the host and on GPU 0.
struct Twin {
  explicit Twin(const std::vector<TensorSpec>& specs)
      : host(Arena::create("twin", specs)), gpu(host.on(host.device_memory(0))) {
    to_gpu();
  }
  void to_gpu() const { copy(host, gpu); }
  void to_host() const {
    wait_for_current_stream(gpu.device());
    copy(gpu, host);
  }

  Arena host;
  Arena gpu;
};

/// A FlatModel with gradients, a loss and optimizer state, on both devices.
class TwinModel {
 public:
  TwinModel(const OptimizerOptions& options, int workers)
      : state_specs(Optimizer::state_specs(options, model.flat.numel(), workers)),
        state_of_cpu(make_state(options, model, workers)),
        parameters({{"flat", c10::ScalarType::Float, {model.flat.numel()}}}),
        state(state_specs),
        inputs(specs_of_inputs(model)) {
    parameters.host.tensor("flat").copy_(model.flat);
    parameters.to_gpu();
    for (std::size_t i = 0; i < model.slices.size(); ++i) gradients_on_gpu.push_back(inputs.gpu.tensor(name_of(i)));
    next(1.0F);
  }

  /// Other gradients, and that loss. What was enqueued must be done.
  void next(float loss_value) {
    gradients = model.random_gradients();
    for (std::size_t i = 0; i < gradients.size(); ++i) inputs.host.tensor(name_of(i)).copy_(gradients[i]);
    inputs.host.tensor("loss").fill_(loss_value);
    inputs.to_gpu();
  }
  [[nodiscard]] at::Tensor flat_on_gpu() const { return parameters.gpu.tensor("flat"); }
  [[nodiscard]] const float* loss() const { return inputs.gpu.tensor("loss").const_data_ptr<float>(); }

  void expect_equal() const {
    parameters.to_host();
    state.to_host();
    EXPECT_TRUE(at::equal(parameters.host.tensor("flat"), model.flat)) << "the parameters differ";
    for (const TensorSpec& spec : state_specs) {
      EXPECT_TRUE(at::equal(state.host.tensor(spec.name), state_of_cpu.tensor(spec.name))) << spec.name << " differs";
    }
  }

  FlatModel model;
  std::vector<at::Tensor> gradients;
  std::vector<TensorSpec> state_specs;
  Arena state_of_cpu;
  Twin parameters;
  Twin state;
  Twin inputs;
  std::vector<at::Tensor> gradients_on_gpu;

 private:
  static std::string name_of(std::size_t i) { return "gradient " + std::to_string(i); }
  static std::vector<TensorSpec> specs_of_inputs(const FlatModel& model) {
    std::vector<TensorSpec> specs = {{"loss", c10::ScalarType::Float, {}}};
    for (std::size_t i = 0; i < model.slices.size(); ++i) {
      specs.push_back({name_of(i), c10::ScalarType::Float, {model.slices[i].numel}});
    }
    return specs;
  }
};

struct OptimizerCase {
  std::string name;
  OptimizerOptions options;
};

inline std::ostream& operator<<(std::ostream& out, const OptimizerCase& one) {
  return out << one.name;
}

inline std::vector<OptimizerCase> optimizer_cases() {
  using enum OptimizerKind;
  return {
      {"sgd", {.kind = sgd}},
      {"sgd_momentum", {.kind = sgd, .momentum = 0.9, .dampening = 0.4, .weight_decay = 0.05}},
      {"sgd_nesterov", {.kind = sgd, .momentum = 0.8, .nesterov = true}},
      {"adam", default_optimizer("adam")},
      {"adam_decay", {.kind = adam, .weight_decay = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3}},
      {"adamw", default_optimizer("adamw")},
      {"adagrad", default_optimizer("adagrad")},
      {"adagrad_decays", {.kind = adagrad, .weight_decay = 0.05, .eps = 1e-4, .lr_decay = 0.1}},
      {"rmsprop", default_optimizer("rmsprop")},
      {"rmsprop_momentum", {.kind = rmsprop, .momentum = 0.9, .weight_decay = 0.05, .alpha = 0.95, .eps = 1e-4}},
  };
}

using OnGpuParam = std::tuple<OptimizerCase, StateSharing, Write>;

class OptimizerOnGpu : public testing::TestWithParam<OnGpuParam> {
 protected:
  static constexpr int kWorkers = 2;
  static constexpr int kSteps = 8;

  OptimizerOnGpu() { options_.state = std::get<1>(GetParam()); }

  void SetUp() override {
    try {
      (void)cuda_driver();
    } catch (const DeviceError&) {
      GTEST_SKIP() << "no GPU";
    }
  }
  static double lr_of(int step) { return 0.05 / (step + 1); }

  OptimizerOptions options_ = std::get<0>(GetParam()).options;
  Write write_ = std::get<2>(GetParam());
};

inline std::string name_of_case(const testing::TestParamInfo<OnGpuParam>& test) {
  return std::get<0>(test.param).name + (std::get<1>(test.param) == StateSharing::shared ? "_shared" : "_private") +
         (std::get<2>(test.param) == Write::plain ? "_plain" : "_atomic");
}

// Two workers by turns, and every third loss is no number: the bits of a CPU that skips these steps.
TEST_P(OptimizerOnGpu, HasTheBitsOfTheCpuAndSkipsALossThatIsNoNumber) {
  TwinModel twin(options_, kWorkers);
  std::vector<Optimizer> on_cpu;
  std::vector<Optimizer> on_gpu;
  for (int rank = 0; rank < kWorkers; ++rank) {
    on_cpu.emplace_back(options_, twin.model.flat, twin.state_of_cpu, rank, write_);
    on_gpu.emplace_back(options_, twin.flat_on_gpu(), twin.state.gpu, rank, write_);
  }
  for (int step = 0; step < kSteps; ++step) {
    const auto rank = static_cast<std::size_t>(step % kWorkers);
    const float loss = step % 3 != 0 ? 1.0F : step == 0 ? kNan : step == 3 ? kInfinity : -kInfinity;
    twin.next(loss);
    if (std::isfinite(loss)) on_cpu[rank].step(lr_of(step), twin.model.slices, twin.gradients);
    on_gpu[rank].set_lr(lr_of(step));
    on_gpu[rank].enqueue(twin.model.slices, twin.gradients_on_gpu, {.loss = twin.loss()});
    EXPECT_EQ(on_gpu[rank].steps(), on_cpu[rank].steps()) << "step " << step;
    twin.expect_equal();
  }
}

TEST_P(OptimizerOnGpu, StepsAsOnTheCpu) {
  TwinModel twin(options_, kWorkers);
  Optimizer on_cpu(options_, twin.model.flat, twin.state_of_cpu, 1, write_);
  Optimizer on_gpu(options_, twin.flat_on_gpu(), twin.state.gpu, 1, write_);
  for (int step = 0; step < kSteps; ++step) {
    twin.next(kNan);
    on_cpu.step(lr_of(step), twin.model.slices, twin.gradients);
    on_gpu.step(lr_of(step), twin.model.slices, twin.gradients_on_gpu);
  }
  EXPECT_EQ(on_gpu.steps(), kSteps);
  twin.expect_equal();
}

TEST_P(OptimizerOnGpu, GoesOnExactlyInANewObjectOnTheSameState) {
  TwinModel twin(options_, kWorkers);
  Optimizer on_cpu(options_, twin.model.flat, twin.state_of_cpu, 0, write_);
  for (int step = 0; step < kSteps; ++step) {
    twin.next(1.0F);
    on_cpu.step(lr_of(step), twin.model.slices, twin.gradients);
    Optimizer(options_, twin.flat_on_gpu(), twin.state.gpu, 0, write_)
        .step(lr_of(step), twin.model.slices, twin.gradients_on_gpu);
  }
  twin.expect_equal();
}

TEST_P(OptimizerOnGpu, SkipsAnUndefinedGradientAndCountsAStepWithoutParameters) {
  TwinModel twin(options_, kWorkers);
  Optimizer on_cpu(options_, twin.model.flat, twin.state_of_cpu, 0, write_);
  Optimizer on_gpu(options_, twin.flat_on_gpu(), twin.state.gpu, 0, write_);
  twin.gradients[2] = at::Tensor();
  twin.gradients_on_gpu[2] = at::Tensor();
  on_cpu.step(0.1, twin.model.slices, twin.gradients);
  on_gpu.step(0.1, twin.model.slices, twin.gradients_on_gpu);
  on_cpu.step(0.1, {}, {});
  on_gpu.enqueue({}, {});
  EXPECT_EQ(on_gpu.steps(), 2);
  twin.expect_equal();
}

INSTANTIATE_TEST_SUITE_P(Each, OptimizerOnGpu,
                         testing::Combine(testing::ValuesIn(optimizer_cases()),
                                          testing::Values(StateSharing::private_, StateSharing::shared),
                                          testing::Values(Write::plain, Write::atomic)),
                         name_of_case);

}  // namespace hogpen
