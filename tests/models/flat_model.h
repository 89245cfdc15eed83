#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include <vector>

#include "models/optimizer.h"

namespace hogpen {

/// Four parameters in a flat range with gaps between them, as a SharedModel hands it out.
struct FlatModel {
  FlatModel() {
    at::manual_seed(3);
    flat = at::full({256}, kGap);
    for (const FlatSlice& slice : slices) flat.narrow(0, slice.offset, slice.numel).normal_();
  }
  [[nodiscard]] at::Tensor parameter(std::size_t i) const { return flat.narrow(0, slices[i].offset, slices[i].numel); }
  [[nodiscard]] std::vector<at::Tensor> random_gradients() const {
    std::vector<at::Tensor> gradients;
    for (const FlatSlice& slice : slices) gradients.push_back(at::randn({slice.numel}));
    return gradients;
  }

  static constexpr float kGap = 77.0F;
  at::Tensor flat;
  std::vector<FlatSlice> slices = {{0, 35}, {48, 1}, {64, 130}, {208, 16}};
};

inline Arena make_state(const OptimizerOptions& options, const FlatModel& model, int workers) {
  return Arena::create("optimizer", Optimizer::state_specs(options, model.flat.numel(), workers));
}

}  // namespace hogpen
