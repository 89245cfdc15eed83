#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/captured_steps.h"
#include "models/gpu_step.h"
#include "models/optimizer.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_graph.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen {

/// Steps of one worker on a GPU, of which several are on their way at a time: while one is computed, the host deals out
/// the samples of the next. A step is one CUDA graph: batch, both passes and the update of the parameters.
///
/// A step whose loss is NaN or infinite updates nothing.
///
/// Sharing: the thread that made it; see `Optimizer` for the parameters. Owns: its stream, which is the thread's own,
/// and memory for what is on its way.
class GpuPipeline {
 public:
  /// Steps that may be on their way: one computes, the others wait, so that the GPU need not.
  static constexpr std::size_t kMostOnTheirWay = 4;

  /// `make_step` is called when the thread has its own stream. Throws: CudaError; what `make_step` throws.
  GpuPipeline(const SharedModel& model, std::int64_t batch_size, Optimizer& optimizer, const GpuStepMaker& make_step);
  ~GpuPipeline();

  /// Sends a step on its way, on a batch of these samples. Requires: not `is_full`; at most `batch_size` samples.
  /// Throws: CudaError; what a launch throws.
  void begin(std::span<const std::uint32_t> samples, double lr);
  /// Waits until the oldest step is done, and returns its loss. Requires: one is on its way. Throws: CudaError, after
  /// which the GPU is lost to this process.
  [[nodiscard]] double finish();

  [[nodiscard]] std::size_t on_their_way() const noexcept { return begun_ - finished_; }
  [[nodiscard]] bool is_full() const noexcept { return on_their_way() == kMostOnTheirWay; }

 private:
  /// What goes to the GPU for a step, and comes back.
  struct Slot {
    Slot(int gpu, std::size_t batch_size);

    CudaBuffer memory;  // page-locked: the learning rate, the samples, and behind them the loss
    CudaEvent done;
  };
  [[nodiscard]] Slot& slot_of(std::size_t step) { return *slots_[step % kMostOnTheirWay]; }
  [[nodiscard]] float* loss_in(Slot& slot) const noexcept;
  [[nodiscard]] GpuGradients enqueue(std::size_t samples);

  const SharedModel& model_;
  c10::Device gpu_;
  std::size_t batch_size_;
  Optimizer& optimizer_;
  OwnStream stream_;
  std::vector<std::unique_ptr<Slot>> slots_;
  at::Tensor staged_;  // on the GPU: learning rate and samples of the step that runs
  std::unique_ptr<GpuStep> step_;
  CapturedSteps steps_;
  std::size_t begun_ = 0;
  std::size_t finished_ = 0;
};

}  // namespace hogpen
