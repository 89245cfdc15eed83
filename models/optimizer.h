#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/update.h"
#include "runtime/memory/arena.h"

namespace hogpen {

namespace detail {
class GpuSteps;
struct UpdateArrays;
}  // namespace detail

enum class OptimizerKind { sgd, adam, adamw, adagrad, rmsprop };

/// Who owns an optimizer's state (momentum, Adam's moments).
enum class StateSharing {
  private_,  ///< each worker has its own, as in PyTorch's mnist_hogwild
  shared,    ///< one for all workers, updated by each, with one atomic step counter
};

/// Names and defaults are those of torch.optim.
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::sgd;
  double momentum = 0.0;      ///< sgd, rmsprop; 0: no momentum buffer
  double dampening = 0.0;     ///< sgd
  bool nesterov = false;      ///< sgd
  double weight_decay = 0.0;  ///< L2 penalty; decoupled for adamw, whose PyTorch default is 0.01
  double beta1 = 0.9;         ///< adam, adamw
  double beta2 = 0.999;       ///< adam, adamw
  double alpha = 0.99;        ///< rmsprop
  double eps = 1e-8;          ///< adam, adamw, rmsprop; PyTorch's default for adagrad is 1e-10
  double lr_decay = 0.0;      ///< adagrad
  StateSharing state = StateSharing::private_;

  /// Throws: UsageError naming the field that makes no sense, also one that is set but not used by this kind.
  void check() const;
};

/// The options with torch.optim's defaults of that kind. Throws: UsageError for a name that is none.
[[nodiscard]] OptimizerOptions default_optimizer(const std::string& name);
[[nodiscard]] std::string to_string(OptimizerKind kind);

/// One parameter of the model: a place in the flat range of the model's Arena.
struct FlatSlice {
  std::int64_t offset = 0;  ///< in elements, from the beginning of the flat range
  std::int64_t numel = 0;
};

/// What a step on a GPU finds in its memory when it runs.
struct StepOnGpu {
  const float* loss = nullptr;  ///< null: every step is made
  const double* lr = nullptr;   ///< null: what `Optimizer::set_lr` said last
};

/// What one worker needs to update the shared parameters: hyper-parameters, and its view of the state.
///
/// State lies in an Arena of its own (`state_specs`): for each state buffer of the optimizer one float32 tensor
/// [copies, flat_numel], named as torch.optim names it ("momentum_buffer", "exp_avg", "exp_avg_sq", "sum",
/// "square_avg"), and "step", int64 [copies]; copies is 1 when shared, else the number of workers. So a worker that
/// replaces a dead one goes on with its state, and a checkpoint holds everybody's. A parameter's state lies where the
/// parameter lies in the flat range. One step counter serves all parameters, where torch.optim has one for each.
///
/// Device: parameters, state and gradients all lie on the CPU, or all on one GPU.
/// Sharing: one object a worker, and its copies with it; the tensors behind it are shared memory.
/// Owns: shares of the Arenas; on a GPU a little memory, which must outlive what was enqueued or captured.
class Optimizer {
 public:
  /// Throws: what `OptimizerOptions::check` throws.
  [[nodiscard]] static std::vector<TensorSpec> state_specs(const OptimizerOptions& options, std::int64_t flat_numel,
                                                           int workers);

  /// `parameters`: 1-D float32, the flat range of the model's Arena. `state`: an Arena of `state_specs`.
  ///
  /// Throws: UsageError naming the tensor of `state` that is absent or of another shape or dtype, or a rank it has no
  /// row for, or for another device than the parameters'. On a GPU: what `use_gpu` throws.
  Optimizer(const OptimizerOptions& options, at::Tensor parameters, Arena state, int rank, kernels::Write write);

  /// One step: for each i, updates the parameters of `slices[i]` by `gradients[i]`. Allocates nothing and dispatches no
  /// tensor operation.
  ///
  /// Shapes: gradients[i] is contiguous and has slices[i].numel elements; an undefined one is skipped, as in PyTorch.
  /// Dtypes: float32. Sharing: parameters, and shared state, race with other workers' steps as `write` says.
  /// Throws: UsageError for a gradient or a slice that does not fit, before anything is updated. On a GPU: as
  /// `enqueue`; it waits for LibTorch's current stream before and after the step.
  void step(double lr, std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients);

  /// One step on the GPU, asynchronous on LibTorch's current stream. It may be captured in a CUDA graph, of which every
  /// replay is a step: it counts itself in the state, and reads gradients, `*loss` and the learning rate when it runs.
  /// Where `*loss` is NaN or infinite then, nothing is updated or counted.
  ///
  /// Shapes, Dtypes, Sharing: as `step`.
  /// Requires: on a GPU; gradients stay where they are until the last step or replay is done.
  /// Throws: as `step`, before anything is enqueued; std::runtime_error when a launch fails, or when hogpen was built
  /// without CUDA.
  void enqueue(std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients, const StepOnGpu& there = {});
  /// The learning rate of the steps that run from now on; 0 before the first call. It calls nothing of CUDA's: it
  /// writes to page-locked memory that the step reads.
  ///
  /// Requires: on a GPU; all steps enqueued or replayed before have run, else they may take this rate.
  void set_lr(double lr);

  /// Whether a step is `parameters -= lr * gradients` with ordinary stores, and nothing else.
  [[nodiscard]] bool is_plain_sgd() const noexcept;
  /// Counts a step that somebody else made. On a GPU, where it waits for the stream, shared state may lose a count.
  ///
  /// Requires: `is_plain_sgd`. Throws: on a GPU, CudaError.
  void count_step();

  /// Steps done so far with this worker's state: by this rank, or by all workers when the state is shared. On a GPU it
  /// waits for LibTorch's current stream. Throws: CudaError.
  [[nodiscard]] std::int64_t steps() const;

 private:
  [[nodiscard]] detail::GpuSteps& on_gpu() const;
  std::int64_t next_step() noexcept;
  void check(std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients) const;
  void check(const FlatSlice& slice, const at::Tensor& gradient) const;
  [[nodiscard]] detail::UpdateArrays arrays(const FlatSlice& slice, const at::Tensor& gradient) const;
  void update(double lr, std::int64_t step, const detail::UpdateArrays& arrays);

  OptimizerOptions options_;
  at::Tensor parameters_;
  Arena state_;
  kernels::Write write_;
  float* flat_ = nullptr;
  std::array<float*, 2> buffers_{};  // this worker's rows of the state, in the order of state_specs
  std::int64_t* step_ = nullptr;
  std::shared_ptr<detail::GpuSteps> on_gpu_;  // null on the CPU
};

}  // namespace hogpen
