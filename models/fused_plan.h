#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "kernels/activation.h"
#include "kernels/convolution.h"
#include "models/dataset.h"
#include "models/layer_spec.h"
#include "models/shared_model.h"

namespace hogpen::detail {

/// What a sample is between two layers: an image, or, once it is flat, a row of features.
///
/// Sharing: a value.
struct SampleShape {
  std::size_t channels = 0;
  std::size_t height = 1;
  std::size_t width = 1;
  bool is_image = false;

  [[nodiscard]] std::size_t numel() const noexcept { return channels * height * width; }
};

/// A layer that hogpen's own kernels compute, with what its engine must know of it.
///
/// Sharing: a value.
struct FusedLayerPlan {
  LayerSpec::Kind kind = LayerSpec::Kind::relu;
  SampleShape input;
  SampleShape output;
  kernels::Windows windows;         ///< of Conv2d and MaxPool2d
  double p = 0.0;                   ///< of dropouts
  std::size_t group = 1;            ///< of dropouts: so many neighbours are dropped together
  std::size_t first_parameter = 0;  ///< of `SharedModel::parameters()`: the weight, and behind it the bias
  std::size_t parameters = 0;       ///< how many it has
};

/// The layers that compute something, one after the other: none for another model than `make_fused_step` takes.
[[nodiscard]] std::vector<FusedLayerPlan> plan_fused_layers(const SharedModel& model, const Dataset& data);

/// None for a layer that is no activation.
[[nodiscard]] std::optional<kernels::Activation> activation_of(LayerSpec::Kind kind) noexcept;

}  // namespace hogpen::detail
