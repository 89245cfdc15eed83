#include "models/checkpoint.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "tests/models/checkpoint_fixture.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;
using c10::ScalarType;
using nlohmann::json;

TEST_F(CheckpointTest, WithoutAnyThereIsNoLatest) {
  EXPECT_EQ(CheckpointStore(run(), 3).latest(), std::nullopt);
  EXPECT_FALSE(fs::exists(run())) << "a store touches no file before it saves";
}

TEST_F(CheckpointTest, WhatIsSavedIsLoaded) {
  CheckpointStore store(run(), 3);
  EXPECT_EQ(store.save(content(7, 2.5)), step(7));
  EXPECT_EQ(store.latest(), step(7));
  EXPECT_EQ(load_value(step(7)), 2.5);
  EXPECT_EQ(names(run()), std::vector<std::string>{"step-7"});
  EXPECT_EQ(names(step(7)), (std::vector<std::string>{"model.safetensors", "optimizer.safetensors", "state.json"}));
}

TEST_F(CheckpointTest, WithoutOptimizerStateThereIsNoFileForIt) {
  CheckpointContent without = content(1, 1.0);
  without.optimizer.clear();
  CheckpointStore store(run(), 3);
  store.save(without);
  EXPECT_EQ(names(step(1)), (std::vector<std::string>{"model.safetensors", "state.json"}));
  EXPECT_EQ(store.latest(), step(1));
  EXPECT_EQ(load_state(step(1)), (json{{"value", 1.0}}));
}

TEST_F(CheckpointTest, FilesHoldNoFillersAndStayAligned) {
  const Snapshot model = content(1, 1.0).model;
  const auto is_filler = [](const SafetensorsHeader& header) {
    return std::ranges::any_of(header.entries, is_padding);
  };
  ASSERT_TRUE(is_filler(parse_safetensors_header(model, "snapshot"))) << "or this test shows nothing";
  CheckpointStore(run(), 3).save(content(1, 1.0));
  const std::string file = read_file(model_file(step(1)));
  const auto header = parse_safetensors_header(std::as_bytes(std::span(file)), "file");
  EXPECT_FALSE(is_filler(header));
  ASSERT_EQ(header.entries.size(), kModel.size());
  for (const TensorEntry& entry : header.entries) {
    EXPECT_EQ((header.data_begin + entry.begin) % c10::elementSize(entry.spec.dtype), 0) << entry.spec.name;
  }
}

TEST_F(CheckpointTest, TheLatestHasTheHighestNumberNotTheLastName) {
  CheckpointStore store(run(), 0);
  for (const std::int64_t number : {9, 100, 10}) store.save(content(number, 1.0));
  EXPECT_EQ(store.latest(), step(100));
  EXPECT_EQ(names(run()).size(), 3);
}

TEST_F(CheckpointTest, OnlyTheNewestAreKeptAndForeignFilesStay) {
  fs::create_directories(run() / "step-one");
  std::ofstream(run() / "notes.tmp") << "mine";
  CheckpointStore store(run(), 2);
  for (const std::int64_t number : {8, 9, 10, 11}) store.save(content(number, 1.0));
  EXPECT_EQ(names(run()), (std::vector<std::string>{"notes.tmp", "step-10", "step-11", "step-one"}));
}

TEST_F(CheckpointTest, WhatWasJustSavedIsKeptAlsoWhenItIsNotTheNewest) {
  CheckpointStore store(run(), 1);
  store.save(content(9, 9.0));
  store.save(content(3, 3.0));
  EXPECT_EQ(load_value(step(3)), 3.0);
}

TEST_F(CheckpointTest, TheSameStepSavedAgainReplacesTheEarlierOne) {
  CheckpointStore store(run(), 2);
  store.save(content(4, 1.0));
  store.save(content(4, 2.0));
  EXPECT_EQ(load_value(step(4)), 2.0);
  EXPECT_EQ(names(run()), std::vector<std::string>{"step-4"});
}

TEST_F(CheckpointTest, UnfinishedOnesAreNoCheckpoints) {
  CheckpointStore store(run(), 0);
  for (const std::int64_t number : {1, 2, 3, 4, 5}) store.save(content(number, 1.0));
  fs::rename(step(5), run() / "step-5.tmp");
  fs::remove(step(4) / "optimizer.safetensors");
  fs::resize_file(step(3) / "model.safetensors", 100);
  fs::resize_file(step(2) / "state.json", 30);
  EXPECT_EQ(store.latest(), step(1));
}

TEST_F(CheckpointTest, LeftoversOfAKilledRunAreRemovedByTheNextSave) {
  CheckpointStore(run(), 0).save(content(1, 1.0));
  fs::create_directories(run() / "step-2.tmp");
  std::ofstream(run() / "step-2.tmp" / "model.safetensors") << "half";
  fs::rename(step(1), run() / "step-1.old");
  CheckpointStore store(run(), 0);
  EXPECT_EQ(store.latest(), run() / "step-1.old") << "the process was killed while it replaced step 1";
  store.save(content(3, 3.0));
  EXPECT_EQ(names(run()), (std::vector<std::string>{"step-1", "step-3"}));
  EXPECT_EQ(load_value(step(1)), 1.0);
}

TEST_F(CheckpointTest, WrongArgumentsAreUsageErrors) {
  EXPECT_THROW(CheckpointStore(run(), -1), UsageError);
  CheckpointStore store(run(), 1);
  EXPECT_THROW(store.save(content(-1, 1.0)), UsageError);
  for (const char* state : {"", "[]", "{", R"({"files":{}})"}) {
    CheckpointContent wrong = content(1, 1.0);
    wrong.state_json = state;
    EXPECT_THROW(store.save(wrong), UsageError) << state;
  }
  EXPECT_FALSE(fs::exists(run()));
}

TEST_F(CheckpointTest, NaNAndInfAreNeverWritten) {
  CheckpointStore store(run(), 1);
  for (const ScalarType dtype :
       {ScalarType::Float, ScalarType::Double, ScalarType::Half, ScalarType::BFloat16, ScalarType::Float8_e5m2}) {
    for (const double bad :
         {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
      for (const std::int64_t place : {0, 4095, 4096, 9999}) {
        const Arena arena = Arena::create("nan", {{{"fine", dtype, {10'000}}, {"0.weight", dtype, {10'000}}}});
        arena.tensor("0.weight").slice(0, place, place + 1).copy_(at::full({1}, bad));
        const CheckpointContent model{1, snapshot_of(arena), {}, "{}"};
        EXPECT_TRUE(contains(message_of<UsageError>([&] { store.save(model); }), "0.weight"))
            << dtype << " at " << place;
      }
    }
  }
  const Arena state = filled(kOptimizer, 1.0);
  state.tensor("exp_avg").fill_(std::nan(""));
  CheckpointContent optimizer = content(1, 1.0);
  optimizer.optimizer = snapshot_of(state);
  EXPECT_TRUE(contains(message_of<UsageError>([&] { store.save(optimizer); }), "exp_avg"));
  EXPECT_FALSE(fs::exists(run()));
}

TEST_F(CheckpointTest, LargeNumbersAndIntegersOfAllBitsAreNoNaN) {
  const Arena arena = Arena::create(
      "fine", {{{"f", ScalarType::Float, {1}}, {"i", ScalarType::Int, {1}}, {"h", ScalarType::Half, {1}}}});
  arena.tensor("f").fill_(std::numeric_limits<float>::max());
  arena.tensor("i").fill_(-1);
  arena.tensor("h").fill_(-65504.0);
  EXPECT_NO_THROW(CheckpointStore(run(), 1).save({1, snapshot_of(arena), {}, "{}"}));
}

TEST_F(CheckpointTest, AFlippedBitOfAnyTensorIsNamed) {
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
    CheckpointStore(run(), 1).save(content(1, 1.0));
    const std::string good = read_file(step(1) / name);
    const auto header = parse_safetensors_header(std::as_bytes(std::span(good)), name);
    for (const TensorEntry& entry : header.entries) {
      for (const std::size_t place : {entry.begin, entry.end - 1}) {
        std::string bad = good;
        bad[header.data_begin + place] ^= 0x10;
        write_atomically(FileSystem::real(), step(1) / name, bad);
        const std::string message = message_of<FormatError>([&] { (void)load_state(step(1)); });
        EXPECT_TRUE(contains(message, name) && contains(message, "tensor " + entry.spec.name)) << message;
      }
    }
  }
}

TEST_F(CheckpointTest, ADamagedStateIsAFormatError) {
  CheckpointStore(run(), 1).save(content(1, 1.0));
  for (const char* text : {"", "{", "[]", "{}", R"({"files":3})", R"({"files":{"model.safetensors":{"bytes":-1}}})"}) {
    write_atomically(FileSystem::real(), step(1) / "state.json", text);
    EXPECT_THROW((void)load_state(step(1)), FormatError) << text;
  }
}

TEST_F(CheckpointTest, WhereThereIsNoCheckpointLoadingIsAUsageError) {
  EXPECT_THROW((void)load_state(run()), UsageError);
  fs::create_directories(run());
  EXPECT_THROW((void)load_state(run()), UsageError);
}

void write_tensors(const fs::path& file, const std::vector<TensorSpec>& specs) {
  const Snapshot bytes = snapshot_of(filled(specs, 5.0));
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
}

TEST_F(CheckpointTest, ALoneFileInAnotherOrderLoadsAndHasNoState) {
  write_tensors(base_ / "lone.safetensors", {kModel[3], kModel[1], kModel[2], kModel[0]});
  EXPECT_EQ(load_state(base_ / "lone.safetensors"), json::object());
  const Arena arena = filled(kModel, 0.0);
  load_safetensors(model_file(base_ / "lone.safetensors"), arena);
  EXPECT_TRUE(all_are(arena, 5.0));
}

TEST_F(CheckpointTest, TensorsThatDoNotFitAreNamedAndNothingIsLoaded) {
  const fs::path file = base_ / "other.safetensors";
  const auto message_for = [&](const std::vector<TensorSpec>& specs) {
    write_tensors(file, specs);
    const Arena arena = filled(kModel, 0.0);
    const std::string message = message_of<UsageError>([&] { load_safetensors(file, arena); });
    EXPECT_TRUE(all_are(arena, 0.0)) << "must be unchanged: " << message;
    return message;
  };
  EXPECT_TRUE(contains(message_for({kModel[0], kModel[1], kModel[2]}), "2.weight"));
  EXPECT_TRUE(
      contains(message_for({kModel[0], kModel[1], kModel[2], kModel[3], {"more", ScalarType::Int, {1}}}), "more"));
  const std::string shape = message_for({kModel[0], kModel[1], kModel[2], {"2.weight", ScalarType::Double, {5, 2}}});
  EXPECT_TRUE(contains(shape, "2.weight") && contains(shape, "[5, 2]") && contains(shape, "[2, 5]")) << shape;
  const std::string dtype = message_for({kModel[0], kModel[1], {"0.bias", ScalarType::BFloat16, {5}}, kModel[3]});
  EXPECT_TRUE(contains(dtype, "0.bias") && contains(dtype, "BFloat16") && contains(dtype, "Float [5]")) << dtype;
}

TEST_F(CheckpointTest, AFileThatIsCutOffIsAFormatErrorAndNothingIsLoaded) {
  write_tensors(base_ / "cut.safetensors", kModel);
  fs::resize_file(base_ / "cut.safetensors", fs::file_size(base_ / "cut.safetensors") - 1);
  const Arena arena = filled(kModel, 0.0);
  EXPECT_THROW(load_safetensors(base_ / "cut.safetensors", arena), FormatError);
  EXPECT_TRUE(all_are(arena, 0.0));
}

}  // namespace
}  // namespace hogpen
