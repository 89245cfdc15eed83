#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/dataset.h"
#include "models/shared_model.h"

namespace hogpen {

/// Copies samples into reused tensors, shaped as the model takes them; on a GPU, makes them there by LibTorch.
///
/// Sharing: one object a worker. Owns: the tensors.
class BatchBuffer {
 public:
  /// `samples_on_gpu`: what lies in `Dataset::samples`, as bytes on a GPU; undefined: batches are made on the CPU.
  BatchBuffer(const Dataset& data, const Dataset::Normalization& normalization, std::int64_t batch_size,
              bool takes_images, at::Tensor samples_on_gpu = {});

  /// Shapes: inputs [n, 1, height, width] or [n, height * width]; labels [n]. Dtypes: float32, int64.
  /// The next call overwrites what the last one returned.
  struct Batch {
    at::Tensor inputs;
    at::Tensor labels;
  };
  [[nodiscard]] Batch fill(std::span<const std::uint32_t> samples);
  /// The same on the GPU, from numbers of samples that lie there: int32 [n]. Nothing waits, and nothing is overwritten.
  [[nodiscard]] Batch gather_on_gpu(const at::Tensor& samples) const;

  [[nodiscard]] const Dataset& data() const noexcept { return data_; }
  [[nodiscard]] const Dataset::Normalization& normalization() const noexcept { return normalization_; }
  [[nodiscard]] const at::Tensor& samples_on_gpu() const noexcept { return samples_on_gpu_; }

 private:
  Dataset data_;
  Dataset::Normalization normalization_;
  at::Tensor inputs_;
  at::Tensor labels_;
  at::Tensor samples_on_gpu_;
};

/// A training step of one worker on the shared parameters: the forward pass, then the backward pass.
///
/// Sharing: one object a worker. Owns: gradients and activations.
class TrainStep {
 public:
  virtual ~TrainStep() = default;

  /// Computes the mean cross-entropy of the samples.
  virtual double forward(std::span<const std::uint32_t> samples) = 0;
  /// Computes the gradients of that loss.
  virtual void backward() = 0;
  /// Instead of `backward`: a step of plain SGD with the gradients as they are found, straight into the shared
  /// parameters. False where that cannot be done; nothing has happened then.
  virtual bool update(double /*lr*/) { return false; }

  /// The gradients of `SharedModel::parameters()`, in that order; undefined where the loss does not depend on one.
  [[nodiscard]] std::span<const at::Tensor> gradients() const noexcept { return gradients_; }

 protected:
  std::vector<at::Tensor> gradients_;
};

/// By LibTorch's autograd: any module.
[[nodiscard]] std::unique_ptr<TrainStep> make_autograd_step(SharedModel& model, BatchBuffer buffer);

/// Whether hogpen's own kernels compute steps of that model: one that `parse_model` made, with each parameter
/// trainable, with LogSoftmax at its end alone, and fit for the data. Computes nothing.
[[nodiscard]] bool can_fuse(const SharedModel& model, const Dataset& data);
/// By these kernels, without autograd. Requires: `can_fuse`.
[[nodiscard]] std::unique_ptr<TrainStep> make_fused_step(SharedModel& model, BatchBuffer buffer,
                                                         std::int64_t batch_size);

/// Mean cross-entropy and accuracy over a whole data set, without gradients and in evaluation mode.
struct Score {
  double loss = 0.0;
  double accuracy = 0.0;
};
[[nodiscard]] Score evaluate(SharedModel& model, const Dataset& data, const Dataset::Normalization& normalization);

}  // namespace hogpen
