#pragma once

#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "tests/expect_throw.h"

namespace hogpen {

// Sizes that need fillers, and a dtype of one byte that would leave those after it unaligned.
inline const std::vector<TensorSpec> kModel = {{"0.weight", c10::ScalarType::Float, {5, 3}},
                                               {"0.mask", c10::ScalarType::Bool, {3}},
                                               {"0.bias", c10::ScalarType::Float, {5}},
                                               {"2.weight", c10::ScalarType::Double, {2, 5}}};
inline const std::vector<TensorSpec> kOptimizer = {{"exp_avg", c10::ScalarType::Float, {1, 37}},
                                                   {"step", c10::ScalarType::Long, {1}}};

inline Arena filled(const std::vector<TensorSpec>& specs, double value) {
  Arena arena = Arena::create("test", specs);
  for (const TensorSpec& spec : specs) arena.tensor(spec.name).fill_(value);
  return arena;
}

inline Snapshot snapshot_of(const Arena& arena) {
  return {arena.segment().bytes().begin(), arena.segment().bytes().end()};
}

inline CheckpointContent content(std::int64_t step, double value) {
  return {step, snapshot_of(filled(kModel, value)), snapshot_of(filled(kOptimizer, value)),
          nlohmann::json{{"value", value}}.dump()};
}

inline bool all_are(const Arena& arena, double value) {
  return std::ranges::all_of(arena.header().entries, [&](const TensorEntry& entry) {
    const at::Tensor tensor = arena.tensor(entry.spec.name);
    return is_padding(entry) || at::equal(tensor, at::full_like(tensor, value));
  });
}

/// The one value that fills every tensor of the checkpoint. Throws when it does not load, fails when it is a mixture.
inline double load_value(const std::filesystem::path& checkpoint) {
  const nlohmann::json state = load_state(checkpoint);
  const Arena model = filled(kModel, -1);
  const Arena optimizer = filled(kOptimizer, -1);
  load_safetensors(model_file(checkpoint), model);
  load_safetensors(checkpoint / "optimizer.safetensors", optimizer);
  const double value = state.at("value").get<double>();
  EXPECT_TRUE(all_are(model, value) && all_are(optimizer, value)) << checkpoint;
  return value;
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : log_level_(log_level()) {
    set_log_level(LogLevel::error);
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    base_ = std::filesystem::canonical(std::filesystem::temp_directory_path()) /
            fmt::format("hogpen-checkpoint-{}-{}", ::getpid(), test->name());
    std::filesystem::create_directories(base_);
  }
  ~CheckpointTest() override {
    set_log_level(log_level_);
    std::filesystem::remove_all(base_);
  }

  std::filesystem::path run() const { return base_ / "run"; }
  std::filesystem::path step(std::int64_t number) const { return run() / fmt::format("step-{}", number); }
  static std::vector<std::string> names(const std::filesystem::path& directory) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }

  std::filesystem::path base_;
  LogLevel log_level_;
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace hogpen
