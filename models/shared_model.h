#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/optimizer.h"
#include "runtime/memory/arena.h"

namespace hogpen {

/// Moves a module's parameters and buffers into shared memory, in place: the counterpart of
/// `torch.nn.Module.share_memory()`. One Segment for all of them, whatever their number.
///
/// The Arena's tensors are named as in `state_dict()`; parameters that are one tensor (tied weights) lie there once,
/// under the first name.
///
/// Throws: UsageError for a module without parameters, or naming a tensor that is not dense, not on the CPU, or
/// overlaps another without being the same. The module is unchanged when it throws.
Arena share_memory(torch::nn::Module& module, const std::map<std::string, std::string>& metadata = {});

/// A module whose parameters and buffers are those of an Arena. Gradients and activations stay private.
///
/// Sharing: one object a worker (a module is not thread-safe); the parameters are shared memory.
/// Owns: the module and a share of the Arena.
class SharedModel {
 public:
  /// Binds `model` to `arena`. Its own parameters are dropped; `requires_grad` stays.
  ///
  /// Throws: UsageError naming the first parameter or buffer that is absent from the Arena or has another shape or
  /// dtype there, or a trainable parameter that is not float32. The model is unchanged when it throws.
  SharedModel(Model model, Arena arena);

  /// From now on the trainable parameters are those of `flat`, laid out as `flat()`. Buffers and frozen parameters
  /// stay.
  ///
  /// Shapes, Dtypes: as `flat()`. Owns: a share of the tensor.
  void train_in(at::Tensor flat);

  [[nodiscard]] at::Tensor forward(const at::Tensor& input) { return model_.forward(input); }
  [[nodiscard]] const Model& model() const noexcept { return model_; }
  [[nodiscard]] const Arena& arena() const noexcept { return arena_; }

  /// The smallest range of the Arena that holds every trainable parameter, as one 1-D float32 tensor. What lies between
  /// them (buffers, fillers) is in it too: only `slices()` are parameters.
  [[nodiscard]] const at::Tensor& flat() const noexcept { return flat_; }
  /// The trainable parameters (requires_grad), in the module's order and each once, and where each lies in `flat()`.
  [[nodiscard]] std::span<const at::Tensor> parameters() const noexcept { return parameters_; }
  [[nodiscard]] std::span<const FlatSlice> slices() const noexcept { return slices_; }

 private:
  void find_slices();

  Model model_;
  Arena arena_;
  at::Tensor flat_;
  std::vector<at::Tensor> parameters_;
  std::vector<FlatSlice> slices_;
};

}  // namespace hogpen
