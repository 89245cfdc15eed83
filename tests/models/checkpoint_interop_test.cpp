#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "tests/models/checkpoint_fixture.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

const std::vector<TensorSpec> kMlp = {{"0.weight", c10::ScalarType::Float, {128, 784}},
                                      {"0.bias", c10::ScalarType::Float, {128}},
                                      {"2.weight", c10::ScalarType::Float, {10, 128}},
                                      {"2.bias", c10::ScalarType::Float, {10}}};

/// Checkpoints between hogpen and PyTorch in Python. HOGPEN_PYTHON names an interpreter with torch and safetensors.
class CheckpointInteropTest : public CheckpointTest {
 protected:
  void SetUp() override {
    if (!std::getenv("HOGPEN_PYTHON")) GTEST_SKIP() << "HOGPEN_PYTHON is not set";
  }

  /// What the Python program prints.
  static nlohmann::json run_python(const std::string& verb, const fs::path& path) {
    const std::string command =
        fmt::format("'{}' '{}' {} '{}'", std::getenv("HOGPEN_PYTHON"), INTEROP_PROGRAM, verb, path.string());
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string output;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) output.push_back(static_cast<char>(c));
    EXPECT_EQ(::pclose(pipe), 0) << command;
    return nlohmann::json::parse(output, nullptr, false);
  }

  static void expect_sums(const nlohmann::json& sums, const Arena& arena) {
    ASSERT_TRUE(sums.is_object());
    EXPECT_EQ(sums.size(), kMlp.size());
    for (const TensorSpec& spec : kMlp) {
      const double expected = arena.tensor(spec.name).to(at::kDouble).sum().item<double>();
      EXPECT_NEAR(sums.value(spec.name, 0.0), expected, 1e-9 * std::abs(expected)) << spec.name;
    }
  }
};

TEST_F(CheckpointInteropTest, PythonLoadsWhatHogpenSaves) {
  const Arena arena = Arena::create("model", kMlp);
  for (const TensorSpec& spec : kMlp) arena.tensor(spec.name).copy_(at::arange(1, spec.numel() + 1).view(spec.shape));
  const auto optimizer = snapshot_of(filled(kOptimizer, 3.0));
  const fs::path checkpoint = CheckpointStore(run(), 1).save({1, snapshot_of(arena), optimizer, "{}"});
  expect_sums(run_python("read", checkpoint), arena);
}

TEST_F(CheckpointInteropTest, HogpenLoadsWhatPythonSaves) {
  const fs::path file = base_ / "python.safetensors";
  const nlohmann::json sums = run_python("write", file);
  const Arena arena = filled(kMlp, 0.0);
  EXPECT_EQ(load_state(file), nlohmann::json::object());
  load_safetensors(file, arena);
  expect_sums(sums, arena);
}

}  // namespace
}  // namespace hogpen
