#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <torch/nn/module.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>

#include "models/checkpoint.h"
#include "models/shared_model.h"
#include "models/train_step.h"
#include "models/trainer.h"
#include "tests/footprint.h"
#include "tests/forked.h"
#include "tests/notes_on_board.h"

namespace hogpen {

// A process takes so much longer to start under a sanitizer that fewer calls are tried there.
#if defined(__SANITIZE_ADDRESS__)
constexpr int kFewer = 5;
#else
constexpr int kFewer = 1;
#endif

/// A step whose update adds 1 to the first parameter: on the fake driver an address of the GPU is one of the host.
class CountingUpdate : public TrainStep {
 public:
  explicit CountingUpdate(SharedModel& model) : model_(model) {}
  void backward() override {}
  bool update(double) override {
    auto& count = *static_cast<float*>(model_.flat().mutable_data_ptr());
    std::atomic_ref<float>(count).fetch_add(1.0F);
    return true;
  }

 protected:
  [[nodiscard]] SharedModel& model() const noexcept { return model_; }

 private:
  SharedModel& model_;
};

/// Trainings in GPU memory on the fake driver, of a small model that begins with zeros.
class InGpuMemory : public LeavesNothing<> {
 protected:
  static constexpr const char* kText = "Linear(64,4)";

  void SetUp() override {
    LeavesNothing::SetUp();
    at::set_num_threads(1);  // The tests fork: no parallel region may have run here.
    std::string pattern = (std::filesystem::temp_directory_path() / "hogpen-gpu-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    std::filesystem::remove_all(directory_);
    EXPECT_EQ(notes_on_board(), 0) << "descriptors of GPU memory are left";
    LeavesNothing::TearDown();
  }

  static Model make_zeros() {
    Model model = parse_model(kText);
    const c10::NoGradGuard no_gradients;
    for (const at::Tensor& parameter : model.module->parameters()) parameter.zero_();
    return model;
  }

  static DatasetPair data() { return {Dataset::synthetic(1000, 8, 8, 4, 1), Dataset::synthetic(200, 8, 8, 4, 2)}; }
  static Trainer trainer(const TrainerOptions& some) { return Trainer(make_zeros, kText, data(), some); }

  /// The parameters that a training has saved.
  static Arena saved_by(const TrainResult& result) {
    Arena arena = share_memory(*make_zeros().module);
    load_safetensors(model_file(*result.checkpoint), arena);
    return arena;
  }
  static float first_of(const TrainResult& result) {
    const at::Tensor weight = saved_by(result).tensor("0.weight");
    return *static_cast<const float*>(weight.const_data_ptr());
  }

  /// Trains in a child with the environment that `body` makes; the launcher is a zygote, which the test is not after
  /// the first evaluation of its own.
  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of_child([&] {
                body();
                return HasFailure() ? 1 : 0;
              }),
              0);
  }

  std::filesystem::path directory_;
};

}  // namespace hogpen
