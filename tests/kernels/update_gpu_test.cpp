#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/update.h"

#if HOGPEN_HAS_CUDA
#include "tests/kernels/gpu.h"

namespace hogpen::kernels {
namespace {

struct Arrays {
  float* parameters;
  const float* gradients;
  float* state0;
  float* state1;
  std::size_t n;
};

/// Page-locked memory of the host: what replays of a graph read their scalars from.
class Scalars {
 public:
  Scalars() { check(cudaHostAlloc(&memory_, kBytes, cudaHostAllocMapped)); }
  Scalars(const Scalars&) = delete;
  Scalars& operator=(const Scalars&) = delete;
  ~Scalars() { cudaFreeHost(memory_); }

  static constexpr std::size_t kBytes = 64;
  [[nodiscard]] void* data() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

/// One optimizer on both devices; scalars of any kind are written to memory, and read from there by the GPU.
struct Optimizer {
  std::string name;
  std::function<void(Write, const Arrays&, double lr, std::int64_t step)> on_cpu;
  std::function<void(void* place, double lr, std::int64_t step)> write_scalars;
  std::function<void(Write, const Arrays&, const void* scalars, const float* loss, cudaStream_t)> on_gpu;
};

std::ostream& operator<<(std::ostream& out, const Optimizer& optimizer) {
  return out << optimizer.name;
}

template <class T, class OnCpu, class OnGpu>
Optimizer make(const std::string& name, const T& with, const OnCpu& on_cpu, const OnGpu& on_gpu) {
  static_assert(sizeof(T) <= Scalars::kBytes);
  const auto at = [with](double lr, std::int64_t step) {
    T scalars = with;
    scalars.lr = lr;
    if constexpr (requires { scalars.step; }) scalars.step = step;
    return scalars;
  };
  return {name, [=](Write write, const Arrays& a, double lr, std::int64_t step) { on_cpu(write, a, at(lr, step)); },
          [=](void* place, double lr, std::int64_t step) { *static_cast<T*>(place) = at(lr, step); },
          [=](Write write, const Arrays& a, const void* scalars, const float* loss, cudaStream_t stream) {
            on_gpu(write, a, static_cast<const T*>(scalars), loss, stream);
          }};
}

Optimizer make_sgd(const std::string& name, const SgdScalars& with) {
  const bool has_momentum = with.momentum != 0.0;
  return make(
      name, with,
      [=](Write write, const Arrays& a, const SgdScalars& s) {
        sgd(write, a.parameters, a.gradients, a.state0, a.n, s);
      },
      [=](Write write, const Arrays& a, const SgdScalars* s, const float* loss, cudaStream_t stream) {
        sgd_cuda(write, a.parameters, a.gradients, has_momentum ? a.state0 : nullptr, a.n, s, loss, stream);
      });
}

Optimizer make_adam(const std::string& name, bool is_decoupled, double decay) {
  const AdamScalars with{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-4, .weight_decay = decay};
  return make(
      name, with,
      [=](Write write, const Arrays& a, const AdamScalars& s) {
        (is_decoupled ? adamw : adam)(write, a.parameters, a.gradients, a.state0, a.state1, a.n, s);
      },
      [=](Write write, const Arrays& a, const AdamScalars* s, const float* loss, cudaStream_t stream) {
        (is_decoupled ? adamw_cuda : adam_cuda)(write, a.parameters, a.gradients, a.state0, a.state1, a.n, s, loss,
                                                stream);
      });
}

Optimizer make_adagrad(const std::string& name, const AdagradScalars& with) {
  return make(
      name, with,
      [](Write write, const Arrays& a, const AdagradScalars& s) {
        adagrad(write, a.parameters, a.gradients, a.state0, a.n, s);
      },
      [](Write write, const Arrays& a, const AdagradScalars* s, const float* loss, cudaStream_t stream) {
        adagrad_cuda(write, a.parameters, a.gradients, a.state0, a.n, s, loss, stream);
      });
}

Optimizer make_rmsprop(const std::string& name, const RmspropScalars& with) {
  const bool has_momentum = with.momentum != 0.0;
  return make(
      name, with,
      [](Write write, const Arrays& a, const RmspropScalars& s) {
        rmsprop(write, a.parameters, a.gradients, a.state0, a.state1, a.n, s);
      },
      [=](Write write, const Arrays& a, const RmspropScalars* s, const float* loss, cudaStream_t stream) {
        rmsprop_cuda(write, a.parameters, a.gradients, a.state0, has_momentum ? a.state1 : nullptr, a.n, s, loss,
                     stream);
      });
}

std::vector<Optimizer> optimizers() {
  return {
      make_sgd("sgd", {}),
      make_sgd("sgd_decay", {.weight_decay = 0.02}),
      make_sgd("sgd_momentum", {.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.02}),
      make_sgd("sgd_nesterov", {.momentum = 0.9, .nesterov = true}),
      make_adam("adam", false, 0.0),
      make_adam("adam_decay", false, 0.02),
      make_adam("adamw", true, 0.02),
      make_adagrad("adagrad", {.eps = 1e-3}),
      make_adagrad("adagrad_decays", {.lr_decay = 0.1, .eps = 1e-3, .weight_decay = 0.02}),
      make_rmsprop("rmsprop", {.alpha = 0.9, .eps = 1e-3}),
      make_rmsprop("rmsprop_momentum", {.alpha = 0.9, .eps = 1e-3, .momentum = 0.9, .weight_decay = 0.02}),
  };
}

double lr_of(std::int64_t step) {
  return 0.1 / static_cast<double>(step);
}

class RandomValues {
 public:
  std::vector<float> operator()(std::size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = uniform_(random_);
    return values;
  }

 private:
  std::mt19937 random_{11};
  std::uniform_real_distribution<float> uniform_{-1.0F, 1.0F};
};

/// The same arrays on both devices: those of the GPU begin `offset` floats after a 16-byte boundary, and the gradients
/// `skew` floats further on.
class Twins {
 public:
  Twins(std::size_t n, std::size_t offset, std::size_t skew)
      : n_(n),
        parameters_(random_(n)),
        gradients_(random_(n)),
        gpu_parameters_(parameters_, offset),
        gpu_gradients_(gradients_, offset + skew),
        gpu_state0_(state0_, offset),
        gpu_state1_(state1_, offset) {}

  [[nodiscard]] Arrays on_cpu() { return {parameters_.data(), gradients_.data(), state0_.data(), state1_.data(), n_}; }
  [[nodiscard]] Arrays on_gpu() const {
    return {gpu_parameters_.data(), gpu_gradients_.data(), gpu_state0_.data(), gpu_state1_.data(), n_};
  }
  void draw_gradients() {
    gradients_ = random_(n_);
    check(cudaMemcpy(gpu_gradients_.data(), gradients_.data(), n_ * sizeof(float), cudaMemcpyHostToDevice));
  }
  void expect_equal() const {
    EXPECT_EQ(gpu_parameters_.read(), parameters_);
    EXPECT_EQ(gpu_gradients_.read(), gradients_);
    EXPECT_EQ(gpu_state0_.read(), state0_);
    EXPECT_EQ(gpu_state1_.read(), state1_);
  }

 private:
  RandomValues random_;
  std::size_t n_;
  std::vector<float> parameters_;
  std::vector<float> gradients_;
  std::vector<float> state0_ = std::vector<float>(n_, 0.0F);
  std::vector<float> state1_ = std::vector<float>(n_, 0.0F);
  DeviceValues<float> gpu_parameters_;
  DeviceValues<float> gpu_gradients_;
  DeviceValues<float> gpu_state0_;
  DeviceValues<float> gpu_state1_;
};

using UpdateParam = std::tuple<Optimizer, Write>;

class UpdateOnGpu : public GpuTest, public testing::WithParamInterface<UpdateParam> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!IsSkipped()) scalars_.emplace_back(std::make_unique<Scalars>());
  }

  void on_gpu(const Twins& twins, std::int64_t step, const float* loss = nullptr) {
    optimizer_.write_scalars(scalars(), lr_of(step), step);
    optimizer_.on_gpu(write_, twins.on_gpu(), scalars(), loss, stream());
    check(cudaStreamSynchronize(stream()));
  }
  void on_cpu(Twins& twins, std::int64_t step) { optimizer_.on_cpu(write_, twins.on_cpu(), lr_of(step), step); }

  void expect_equal_to_cpu(std::size_t n, std::size_t offset, std::size_t skew) {
    SCOPED_TRACE("n " + std::to_string(n) + ", offset " + std::to_string(offset) + ", skew " + std::to_string(skew));
    Twins twins(n, offset, skew);
    for (std::int64_t step = 1; step <= 3; ++step) {
      twins.draw_gradients();
      on_gpu(twins, step);
      on_cpu(twins, step);
    }
    twins.expect_equal();
  }

  [[nodiscard]] void* scalars() const { return scalars_.front()->data(); }

  Optimizer optimizer_ = std::get<0>(GetParam());
  Write write_ = std::get<1>(GetParam());

 private:
  std::vector<std::unique_ptr<Scalars>> scalars_;
};

// One thread updates an element, so atomic updates have the bits too.
TEST_P(UpdateOnGpu, HasTheBitsOfTheCpuForAnyLengthAndAlignment) {
  for (const std::size_t n : {0U, 1U, 3U, 4U, 5U, 7U, 8U, 9U, 1023U, 1024U, 1025U, 100'001U}) {
    for (const std::size_t offset : {0U, 1U, 2U, 3U}) {
      expect_equal_to_cpu(n, offset, 0);
      expect_equal_to_cpu(n, offset, 1);
    }
  }
}

// More elements than one pass of the grid: 1024 blocks of 256 threads.
TEST_P(UpdateOnGpu, StridesOverMoreElementsThanThreads) {
  expect_equal_to_cpu(4U * 1024 * 256 + 7, 0, 0);
  expect_equal_to_cpu(2U * 1024 * 256 + 7, 1, 0);
}

TEST_P(UpdateOnGpu, WritesNothingWhereTheLossIsNoNumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const std::size_t offset : {0U, 1U}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
      Twins twins(1001, offset, 0);
      on_gpu(twins, 1, DeviceValues<float>(std::vector<float>{bad}, 0).data());
      twins.expect_equal();
      on_gpu(twins, 1, DeviceValues<float>(std::vector<float>{std::numeric_limits<float>::max()}, 0).data());
      on_cpu(twins, 1);
      twins.expect_equal();
    }
  }
}

TEST_P(UpdateOnGpu, ReadsScalarsFromTheMemoryOfTheGpuAsWell) {
  Twins twins(1001, 0, 0);
  optimizer_.write_scalars(scalars(), lr_of(3), 3);
  const auto* const bytes = static_cast<const std::uint64_t*>(scalars());
  void* memory = nullptr;
  check(cudaMalloc(&memory, Scalars::kBytes));
  check(cudaMemcpy(memory, bytes, Scalars::kBytes, cudaMemcpyDefault));
  optimizer_.on_gpu(write_, twins.on_gpu(), memory, nullptr, stream());
  check(cudaStreamSynchronize(stream()));
  check(cudaFree(memory));
  on_cpu(twins, 3);
  twins.expect_equal();
}

/// A captured graph of one update. Owns: the executable graph.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& launch) : stream_(stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch();
    check(cudaStreamEndCapture(stream, &graph));
    check(cudaGraphInstantiate(&executable_, graph, 0));
    check(cudaGraphDestroy(graph));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { cudaGraphExecDestroy(executable_); }

  void replay() const {
    check(cudaGraphLaunch(executable_, stream_));
    check(cudaStreamSynchronize(stream_));
  }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

TEST_P(UpdateOnGpu, ReplaysOfAGraphTakeTheScalarsAndTheLossOfTheirTime) {
  Twins twins(1001, 0, 0);
  const DeviceValues<float> loss(std::vector<float>{0.0F}, 0);
  const Graph graph(stream(), [&] { optimizer_.on_gpu(write_, twins.on_gpu(), scalars(), loss.data(), stream()); });
  twins.expect_equal();
  for (std::int64_t step = 1; step <= 5; ++step) {
    const float value = step == 3 ? std::numeric_limits<float>::quiet_NaN() : 1.0F;
    check(cudaMemcpy(loss.data(), &value, sizeof value, cudaMemcpyHostToDevice));
    twins.draw_gradients();
    optimizer_.write_scalars(scalars(), lr_of(step), step);
    graph.replay();
    if (std::isfinite(value)) on_cpu(twins, step);
    twins.expect_equal();
  }
}

std::string case_name(const testing::TestParamInfo<UpdateParam>& test) {
  return std::get<0>(test.param).name + (std::get<1>(test.param) == Write::plain ? "_plain" : "_atomic");
}

INSTANTIATE_TEST_SUITE_P(EachOptimizer, UpdateOnGpu,
                         testing::Combine(testing::ValuesIn(optimizers()),
                                          testing::Values(Write::plain, Write::atomic)),
                         case_name);

constexpr int kStreams = 4;
constexpr int kSteps = 200;

class ConcurrentStreams : public GpuTest {
 protected:
  /// Calls `launch` for each stream in turn, kSteps times each, and waits.
  static void run(const std::function<void(std::size_t i, cudaStream_t)>& launch) {
    std::vector<cudaStream_t> streams(kStreams);
    for (cudaStream_t& stream : streams) check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    for (int step = 0; step < kSteps; ++step) {
      for (std::size_t i = 0; i < streams.size(); ++i) launch(i, streams[i]);
    }
    for (const cudaStream_t stream : streams) check(cudaStreamSynchronize(stream));
    for (const cudaStream_t stream : streams) check(cudaStreamDestroy(stream));
  }

  static constexpr std::size_t kElements = 100'001;
};

// Every step adds 1; sums below 2^24 are exact in float.
TEST_F(ConcurrentStreams, AtomicLosesNoUpdateOfTheParameters) {
  const Scalars scalars;
  *static_cast<SgdScalars*>(scalars.data()) = {.lr = 1.0};
  for (const std::size_t offset : {0U, 1U}) {
    const DeviceValues<float> parameters(std::vector<float>(kElements, 0.0F), offset);
    const DeviceValues<float> gradients(std::vector<float>(kElements, -1.0F), offset);
    run([&](std::size_t, cudaStream_t stream) {
      sgd_cuda(Write::atomic, parameters.data(), gradients.data(), nullptr, kElements,
               static_cast<const SgdScalars*>(scalars.data()), nullptr, stream);
    });
    EXPECT_EQ(parameters.read(), std::vector<float>(kElements, 1.0F * kStreams * kSteps));
  }
}

TEST_F(ConcurrentStreams, AtomicLosesNoUpdateOfTheState) {
  const Scalars scalars;
  *static_cast<AdagradScalars*>(scalars.data()) = {.lr = 0.1};
  for (const std::size_t offset : {0U, 1U}) {
    const DeviceValues<float> parameters(std::vector<float>(kElements, 0.0F), offset);
    const DeviceValues<float> gradients(std::vector<float>(kElements, 1.0F), offset);
    const DeviceValues<float> sum(std::vector<float>(kElements, 0.0F), offset);
    run([&](std::size_t, cudaStream_t stream) {
      adagrad_cuda(Write::atomic, parameters.data(), gradients.data(), sum.data(), kElements,
                   static_cast<const AdagradScalars*>(scalars.data()), nullptr, stream);
    });
    EXPECT_EQ(sum.read(), std::vector<float>(kElements, 1.0F * kStreams * kSteps));
  }
}

TEST_F(ConcurrentStreams, AtomicMergesLoseNothingOfAnyReplica) {
  const Scalars scalars;
  *static_cast<SgdScalars*>(scalars.data()) = {.lr = 1.0};
  const std::vector<float> zeros(kElements, 0.0F);
  const DeviceValues<float> center(zeros, 0);
  const DeviceValues<float> gradients(std::vector<float>(kElements, -1.0F), 0);
  std::vector<std::unique_ptr<DeviceValues<float>>> replicas;
  std::vector<std::unique_ptr<DeviceValues<float>>> bases;
  for (int i = 0; i < kStreams; ++i) {
    replicas.push_back(std::make_unique<DeviceValues<float>>(zeros, 0));
    bases.push_back(std::make_unique<DeviceValues<float>>(zeros, 0));
  }
  run([&](std::size_t i, cudaStream_t stream) {
    sgd_cuda(Write::plain, replicas[i]->data(), gradients.data(), nullptr, kElements,
             static_cast<const SgdScalars*>(scalars.data()), nullptr, stream);
    merge_cuda(Write::atomic, Write::plain, center.data(), replicas[i]->data(), bases[i]->data(), kElements, stream);
  });
  EXPECT_EQ(center.read(), std::vector<float>(kElements, 1.0F * kStreams * kSteps));
}

class StepOnGpu : public GpuTest {};

TEST_F(StepOnGpu, BeginsWithTheNextNumberAndTheRateOfTheHostUnlessTheLossIsNoNumber) {
  const Scalars host;
  auto* const next_lr = static_cast<double*>(host.data());
  const DeviceValues<std::int64_t> steps(std::vector<std::int64_t>{41}, 0);
  const DeviceValues<std::int64_t> step(std::vector<std::int64_t>{0}, 0);
  const DeviceValues<double> lr(std::vector<double>{0.0}, 0);
  const auto begin = [&](double rate, std::int64_t* number, float value) {
    *next_lr = rate;
    begin_step_cuda(steps.data(), next_lr, lr.data(), number, DeviceValues<float>(std::vector<float>{value}, 0).data(),
                    stream());
    check(cudaStreamSynchronize(stream()));
  };
  const auto expect = [&](std::int64_t count, std::int64_t number, double rate) {
    EXPECT_EQ(steps.read(), std::vector<std::int64_t>{count});
    EXPECT_EQ(step.read(), std::vector<std::int64_t>{number});
    EXPECT_EQ(lr.read(), std::vector<double>{rate});
  };
  begin(0.1, step.data(), 1.0F);
  expect(42, 42, 0.1);
  begin(0.2, step.data(), std::numeric_limits<float>::quiet_NaN());
  expect(42, 42, 0.1);
  begin(0.3, step.data(), -std::numeric_limits<float>::infinity());
  expect(42, 42, 0.1);
  begin(0.4, nullptr, 1.0F);
  expect(43, 42, 0.4);
  *next_lr = 0.5;
  begin_step_cuda(steps.data(), next_lr, lr.data(), step.data(), nullptr, stream());
  check(cudaStreamSynchronize(stream()));
  expect(44, 44, 0.5);
}

TEST_F(ConcurrentStreams, CountEveryStepOnce) {
  const Scalars host;
  *static_cast<double*>(host.data()) = 0.1;
  const DeviceValues<std::int64_t> steps(std::vector<std::int64_t>{0}, 0);
  const DeviceValues<std::int64_t> numbers(std::vector<std::int64_t>(kStreams * kSteps, 0), 0);
  const DeviceValues<double> lr(std::vector<double>(kStreams, 0.0), 0);
  std::int64_t* next = numbers.data();
  run([&](std::size_t i, cudaStream_t stream) {
    begin_step_cuda(steps.data(), static_cast<const double*>(host.data()), lr.data() + i, next++, nullptr, stream);
  });
  std::vector<std::int64_t> seen = numbers.read();
  std::ranges::sort(seen);
  for (std::size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], static_cast<std::int64_t>(i) + 1);
  EXPECT_EQ(steps.read(), std::vector<std::int64_t>{kStreams * kSteps});
}

class MergeOnGpu : public GpuTest {};

TEST_F(MergeOnGpu, HasTheBitsOfTheCpuForAnyLengthAndAlignment) {
  RandomValues random;
  for (const auto& [to_center, to_replica] :
       {std::pair(Write::plain, Write::plain), std::pair(Write::atomic, Write::plain),
        std::pair(Write::plain, Write::atomic), std::pair(Write::atomic, Write::atomic)}) {
    for (const std::size_t n : {0U, 1U, 3U, 4U, 5U, 1023U, 2U * 1024 * 256 + 7}) {
      for (const std::size_t offset : {0U, 1U, 2U, 3U}) {
        std::vector<float> center = random(n);
        std::vector<float> replica = random(n);
        std::vector<float> base = random(n);
        const DeviceValues<float> gpu_center(center, 0);
        const DeviceValues<float> gpu_replica(replica, offset);
        const DeviceValues<float> gpu_base(base, 0);
        merge(to_center, to_replica, center.data(), replica.data(), base.data(), n);
        merge_cuda(to_center, to_replica, gpu_center.data(), gpu_replica.data(), gpu_base.data(), n, stream());
        check(cudaStreamSynchronize(stream()));
        EXPECT_EQ(gpu_center.read(), center) << "n " << n << ", offset " << offset;
        EXPECT_EQ(gpu_replica.read(), replica) << "n " << n << ", offset " << offset;
        EXPECT_EQ(gpu_base.read(), base) << "n " << n << ", offset " << offset;
      }
    }
  }
}

}  // namespace
}  // namespace hogpen::kernels

#else

namespace hogpen::kernels {
namespace {

TEST(UpdateOnGpu, WithoutCudaTheErrorSaysHowToConfigure) {
  const Write write = Write::plain;
  const std::vector<std::function<void()>> updates = {
      [&] { sgd_cuda(write, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr); },
      [&] { adam_cuda(write, nullptr, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr); },
      [&] { adamw_cuda(write, nullptr, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr); },
      [&] { adagrad_cuda(write, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr); },
      [&] { rmsprop_cuda(write, nullptr, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr); },
      [&] { begin_step_cuda(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr); },
      [&] { merge_cuda(write, write, nullptr, nullptr, nullptr, 0, nullptr); },
  };
  for (const auto& update : updates) {
    try {
      update();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("HOGPEN_CUDA=ON"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace hogpen::kernels

#endif
