#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "models/optimizer.h"

namespace hogpen {

/// Four parameters in a flat range with gaps between them, as a SharedModel hands it out.
struct FlatModel {
  FlatModel() {
    torch::manual_seed(3);
    flat = torch::full({256}, kGap);
    for (const FlatSlice& slice : slices) flat.narrow(0, slice.offset, slice.numel).normal_();
  }
  [[nodiscard]] torch::Tensor parameter(std::size_t i) const {
    return flat.narrow(0, slices[i].offset, slices[i].numel);
  }
  [[nodiscard]] std::vector<torch::Tensor> random_gradients() const {
    std::vector<torch::Tensor> gradients;
    for (const FlatSlice& slice : slices) gradients.push_back(torch::randn({slice.numel}));
    return gradients;
  }

  static constexpr float kGap = 77.0F;
  torch::Tensor flat;
  std::vector<FlatSlice> slices = {{0, 35}, {48, 1}, {64, 130}, {208, 16}};
};

inline Arena make_state(const OptimizerOptions& options, const FlatModel& model, int workers) {
  return Arena::create("optimizer", Optimizer::state_specs(options, model.flat.numel(), workers));
}

}  // namespace hogpen
