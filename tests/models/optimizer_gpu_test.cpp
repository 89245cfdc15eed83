// An Optimizer on a real GPU.
#include <array>

#include "tests/models/current_stream.h"
#include "tests/models/optimizer_on_gpu.h"

namespace hogpen {
namespace {

constexpr int kThreadLocal = 1;       // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
constexpr unsigned kNonBlocking = 1;  // CU_STREAM_NON_BLOCKING

/// A stream of its own as LibTorch's current one. Owns: the stream.
class OwnStream {
 public:
  OwnStream() {
    use_gpu(0);
    cuda_driver().call("cuStreamCreate", &stream_, kNonBlocking);
    CurrentStream::set(stream_);
  }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream() {
    CurrentStream::set(nullptr);
    (void)cuda_driver().result_of("cuStreamDestroy_v2", stream_);
  }
  [[nodiscard]] void* get() const { return stream_; }

 private:
  void* stream_ = nullptr;
};

/// What `launch` enqueues on the stream, as a graph. Owns: the executable graph.
class Graph {
 public:
  template <class Launch>
  Graph(const OwnStream& stream, const Launch& launch) : stream_(stream.get()) {
    void* graph = nullptr;
    cuda_driver().call("cuStreamBeginCapture_v2", stream_, kThreadLocal);
    launch();
    cuda_driver().call("cuStreamEndCapture", stream_, &graph);
    cuda_driver().call("cuGraphInstantiateWithFlags", &executable_, graph, 0ULL);
    cuda_driver().call("cuGraphDestroy", graph);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { (void)cuda_driver().result_of("cuGraphExecDestroy", executable_); }

  void replay() const {
    cuda_driver().call("cuGraphLaunch", executable_, stream_);
    cuda_driver().call("cuStreamSynchronize", stream_);
  }

 private:
  void* stream_;
  void* executable_ = nullptr;
};

using OptimizerInAGraph = OptimizerOnGpu;

TEST_P(OptimizerInAGraph, EveryReplayIsAStepWithTheRateTheGradientsAndTheLossOfItsTime) {
  TwinModel twin(options_, kWorkers);
  Optimizer on_cpu(options_, twin.model.flat, twin.state_of_cpu, 1, write_);
  Optimizer on_gpu(options_, twin.flat_on_gpu(), twin.state.gpu, 1, write_);
  const OwnStream stream;
  const Graph graph(stream, [&] { on_gpu.enqueue(twin.model.slices, twin.gradients_on_gpu, {.loss = twin.loss()}); });
  twin.expect_equal();
  for (int step = 0; step < kSteps; ++step) {
    const float loss = step % 3 == 1 ? kNan : 1.0F;
    twin.next(loss);
    on_gpu.set_lr(lr_of(step));
    graph.replay();
    if (std::isfinite(loss)) on_cpu.step(lr_of(step), twin.model.slices, twin.gradients);
    EXPECT_EQ(on_gpu.steps(), on_cpu.steps()) << "step " << step;
    twin.expect_equal();
  }
}

INSTANTIATE_TEST_SUITE_P(Each, OptimizerInAGraph,
                         testing::Combine(testing::ValuesIn(optimizer_cases()),
                                          testing::Values(StateSharing::private_, StateSharing::shared),
                                          testing::Values(Write::plain, Write::atomic)),
                         name_of_case);

// Every step of two streams adds 1: sums below 2^24 are exact in float, and the steps are all counted.
TEST(OptimizerRaceOnGpu, AtomicLosesNoUpdateOfSharedStateAndNoStepOfTwoStreams) {
  try {
    (void)cuda_driver();
  } catch (const DeviceError&) {
    GTEST_SKIP() << "no GPU";
  }
  constexpr int kSteps = 500;
  OptimizerOptions options = default_optimizer("adagrad");
  options.state = StateSharing::shared;
  TwinModel twin(options, 2);
  twin.inputs.host.flat(0, twin.inputs.host.data().size()).fill_(1.0F);
  twin.inputs.to_gpu();
  std::array<OwnStream, 2> streams;
  std::vector<Optimizer> optimizers;
  for (int rank : {0, 1}) optimizers.emplace_back(options, twin.flat_on_gpu(), twin.state.gpu, rank, Write::atomic);
  for (int step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < streams.size(); ++i) {
      CurrentStream::set(streams[i].get());
      optimizers[i].enqueue(twin.model.slices, twin.gradients_on_gpu, {.loss = twin.loss()});
    }
  }
  for (const OwnStream& stream : streams) cuda_driver().call("cuStreamSynchronize", stream.get());
  CurrentStream::set(nullptr);
  EXPECT_EQ(optimizers[0].steps(), 2 * kSteps);
  twin.state.to_host();
  for (const FlatSlice& slice : twin.model.slices) {
    const at::Tensor sum = twin.state.host.tensor("sum")[0].narrow(0, slice.offset, slice.numel);
    EXPECT_TRUE(sum.eq(2 * kSteps).all().item<bool>()) << "at " << slice.offset;
  }
}

}  // namespace
}  // namespace hogpen
