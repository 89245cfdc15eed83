#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "models/dataset.h"
#include "models/shared_model.h"

namespace hogpen {

/// Copies samples into reused tensors, shaped as the model takes them.
///
/// Sharing: one object a worker. Owns: the tensors.
class BatchBuffer {
 public:
  BatchBuffer(const Dataset& data, const Dataset::Normalization& normalization, std::int64_t batch_size,
              bool takes_images);

  /// Shapes: inputs [n, 1, height, width] or [n, height * width]; labels [n]. Dtypes: float32, int64.
  /// The next call overwrites what the last one returned.
  struct Batch {
    at::Tensor inputs;
    at::Tensor labels;
  };
  [[nodiscard]] Batch fill(std::span<const std::uint32_t> samples);

 private:
  Dataset data_;
  Dataset::Normalization normalization_;
  at::Tensor inputs_;
  at::Tensor labels_;
};

/// The private half of a training step: forward and backward through LibTorch's autograd, on the shared parameters.
///
/// Sharing: one object a worker. Owns: gradients and activations.
class TrainStep {
 public:
  TrainStep(SharedModel& model, BatchBuffer buffer) : model_(model), buffer_(std::move(buffer)) {}

  /// Computes the mean cross-entropy of the samples and its gradients; returns the loss.
  double run(std::span<const std::uint32_t> samples);

  /// The gradients of `SharedModel::parameters()`, in that order; undefined where the loss does not depend on one.
  [[nodiscard]] std::span<const at::Tensor> gradients() const noexcept { return gradients_; }

 private:
  SharedModel& model_;
  BatchBuffer buffer_;
  std::vector<at::Tensor> gradients_;
};

/// Mean cross-entropy and accuracy over a whole data set, without gradients and in evaluation mode.
struct Score {
  double loss = 0.0;
  double accuracy = 0.0;
};
[[nodiscard]] Score evaluate(SharedModel& model, const Dataset& data, const Dataset::Normalization& normalization);

}  // namespace hogpen
