#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "models/layer_spec.h"

// Declared, not included: torch/nn/module.h takes 16 s to compile.
namespace torch::nn {
class Module;
}

namespace hogpen {

/// A module and how to call it: torch::nn::Module itself has no forward.
struct Model {
  std::shared_ptr<torch::nn::Module> module;
  std::function<at::Tensor(const at::Tensor&)> forward;
  bool takes_images = false;  ///< input [batch, channels, height, width]; else [batch, features]
  /// What the module is made of, one layer after the other, where that is all it does: for the fused engine. Else
  /// empty.
  std::vector<LayerSpec> layers = {};
};

/// Makes a fresh model with its initial parameters. Called once in each worker, so that nothing but parameters is
/// shared.
using ModelFactory = std::function<Model()>;

/// Builds a torch::nn::Sequential from a text such as "Linear(784,128) ReLU Linear(128,10)". Parameters are named as in
/// PyTorch ("0.weight").
///
/// Layers: Linear(in, out[, bias=false]), Conv2d(in, out, kernel[, stride=1][, padding=0]), MaxPool2d(kernel[,
/// stride]), Flatten, Dropout([p=0.5]), Dropout2d([p=0.5]) (whole channels), ReLU, Tanh, Sigmoid, GELU, LogSoftmax
/// (over the last dimension). Blanks or commas stand between them, and the case of their names does not count. An
/// argument may be given by name, also by PyTorch's (`kernel_size=3`). The model takes images when Conv2d, MaxPool2d,
/// Dropout2d or Flatten comes before any Linear.
///
/// Throws: FormatError whose `where` is the column, and whose message shows the text with a caret under the place: for
/// a text that cannot be read, layers that do not fit one another, and parameters that do not fit the memory available.
[[nodiscard]] Model parse_model(const std::string& text);

/// The layers of a model whose `forward` is still the one that `parse_model` gave it, for an engine that computes them
/// itself; empty for any other.
[[nodiscard]] std::span<const LayerSpec> layers_of(const Model& model);

}  // namespace hogpen
