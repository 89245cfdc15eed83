#include "models/replica.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "models/shared_model.h"
#include "runtime/process/process.h"
#include "tests/models/flat_model.h"

namespace hogpen {
namespace {

using kernels::Write;

constexpr std::int64_t kNumel = 1000;
constexpr int kWorkers = 3;
constexpr int kSteps = 2000;

/// A center of zeros in shared memory, and the counter of steps begun.
struct Center {
  Center() : arena(Arena::create("center", std::vector<TensorSpec>{{"flat", c10::kFloat, {kNumel}}})) {}
  [[nodiscard]] at::Tensor flat() const { return arena.tensor("flat"); }
  [[nodiscard]] std::span<const FlatSlice> slices() const { return all; }

  Arena arena;
  std::vector<FlatSlice> all = {{0, kNumel}};
  std::atomic<std::uint64_t> claimed{0};
};

/// One worker: steps that add 1 to each parameter. Sums of small whole numbers are exact in float32, so that what the
/// center ends with counts the steps that were not lost.
void train(const Center& center, const Arena& memory, Write to_replica) {
  Replica replica(memory, center.flat(), center.slices(), center.claimed,
                  {.merge_every = 7, .to_center = Write::atomic, .to_replica = to_replica});
  const std::vector<float> gradients(kNumel, -1.0F);
  auto* parameters = replica.parameters().mutable_data_ptr<float>();
  for (int i = 0; i < kSteps; ++i) {
    kernels::sgd(to_replica, parameters, gradients.data(), nullptr, kNumel, {.lr = 1.0});
    replica.end_step();
  }
  replica.merge();
}

/// Runs the body for each worker, in threads or in processes.
void for_each_worker(bool in_threads, const std::function<void()>& body) {
  std::vector<std::thread> threads;
  std::vector<Process> processes;
  for (int i = 0; i < kWorkers; ++i) {
    if (in_threads) {
      threads.emplace_back(body);
    } else {
      processes.push_back(Process::start(body));
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (Process& process : processes) process.join();
}

class ReplicasOf : public ::testing::TestWithParam<bool> {
 protected:
  ReplicasOf() { at::set_num_threads(1); }
};

TEST_P(ReplicasOf, LoseNothingWhenEachWorkerHasItsOwn) {
  const Center center;
  for_each_worker(GetParam(), [&] { train(center, Replica::make_memory(kNumel), Write::plain); });
  EXPECT_EQ(center.flat().min().item<float>(), kWorkers * kSteps);
  EXPECT_EQ(center.flat().max().item<float>(), kWorkers * kSteps);
}

TEST_P(ReplicasOf, LoseNothingWhenWorkersShareOneAndWriteItAtomically) {
  const Center center;
  const Arena shared = Replica::make_memory(kNumel);
  for_each_worker(GetParam(), [&] { train(center, shared, Write::atomic); });
  EXPECT_EQ(center.flat().min().item<float>(), kWorkers * kSteps);
  EXPECT_EQ(center.flat().max().item<float>(), kWorkers * kSteps);
}

INSTANTIATE_TEST_SUITE_P(All, ReplicasOf, ::testing::Values(true, false),
                         [](const auto& form) { return std::string(form.param ? "threads" : "processes"); });

class ReplicaTest : public ::testing::Test {
 protected:
  ReplicaTest() { at::set_num_threads(1); }
};

TEST_F(ReplicaTest, AFreshOneIsACopyOfTheCenterAndChangesNothingThere) {
  for (const Write write : {Write::plain, Write::atomic}) {
    FlatModel model;
    const at::Tensor before = model.flat.clone();
    const std::atomic<std::uint64_t> claimed{0};
    const Replica replica(Replica::make_memory(model.flat.numel()), model.flat, model.slices, claimed,
                          {.to_center = write});
    EXPECT_TRUE(model.flat.equal(before));
    for (const FlatSlice& slice : model.slices) {
      EXPECT_TRUE(replica.parameters()
                      .narrow(0, slice.offset, slice.numel)
                      .equal(model.flat.narrow(0, slice.offset, slice.numel)));
    }
  }
}

TEST_F(ReplicaTest, TheFirstMergeOfItsWorkerIsAfterSoManySteps) {
  Center center;
  Replica replica(Replica::make_memory(kNumel), center.flat(), center.slices(), center.claimed, {.merge_every = 3});
  replica.parameters().fill_(1.5);
  for (int i = 0; i < 2; ++i) replica.end_step();
  EXPECT_EQ(center.flat().max().item<float>(), 0.0F);
  replica.end_step();
  EXPECT_EQ(center.flat().min().item<float>(), 1.5F);
}

TEST_F(ReplicaTest, AMergeBringsWhatOthersHaveAddedToTheCenter) {
  Center center;
  Replica mine(Replica::make_memory(kNumel), center.flat(), center.slices(), center.claimed, {});
  Replica other(Replica::make_memory(kNumel), center.flat(), center.slices(), center.claimed, {});
  mine.parameters().add_(1.0);
  other.parameters().add_(2.0);
  mine.merge();
  other.merge();
  EXPECT_EQ(other.parameters().min().item<float>(), 3.0F);
  EXPECT_EQ(mine.parameters().max().item<float>(), 1.0F);
  mine.merge();
  mine.merge();
  EXPECT_EQ(mine.parameters().min().item<float>(), 3.0F);
  EXPECT_EQ(center.flat().max().item<float>(), 3.0F) << "no delta counts twice";
}

TEST_F(ReplicaTest, WhatLiesBetweenTheParametersIsLeftAlone) {
  FlatModel model;
  const std::atomic<std::uint64_t> claimed{0};
  Replica replica(Replica::make_memory(model.flat.numel()), model.flat, model.slices, claimed, {});
  replica.parameters().fill_(5.0);
  replica.merge();
  std::int64_t changed = 0;
  for (const FlatSlice& slice : model.slices) changed += slice.numel;
  EXPECT_EQ((model.flat == FlatModel::kGap).sum().item<std::int64_t>(), model.flat.numel() - changed);
}

TEST_F(ReplicaTest, AStepKnowsThoseUpToTheLastMergeAndItsOwnSince) {
  Center center;
  Replica replica(Replica::make_memory(kNumel), center.flat(), center.slices(), center.claimed, {.merge_every = 2});
  center.claimed = 1;
  EXPECT_EQ(replica.begin_step(), 0u);
  center.claimed = 5;  // three of others
  EXPECT_EQ(replica.begin_step(), 1u);
  replica.end_step();
  replica.end_step();
  center.claimed = 6;
  EXPECT_EQ(replica.begin_step(), 5u);
}

TEST_F(ReplicaTest, AWorkerKilledWhileItMergesDoesNotStopTheOthersOfItsReplica) {
  Center center;
  const Arena shared = Replica::make_memory(kNumel);
  Replica mine(shared, center.flat(), center.slices(), center.claimed, {});
  for (int i = 0; i < 20; ++i) {
    Process child = Process::start([&] {
      Replica replica(shared, center.flat(), center.slices(), center.claimed, {});
      for (;;) replica.merge();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 4));
    child.signal(SIGKILL);
    EXPECT_THROW(child.join(), WorkerError);
    mine.merge();
  }
  mine.parameters().add_(1.0);
  mine.merge();
  EXPECT_EQ(center.flat().min().item<float>(), 1.0F);
}

TEST_F(ReplicaTest, AModelTrainsTheReplicaAndNotTheCenter) {
  Model model = parse_model("Linear(4,3) ReLU Linear(3,2)");
  const Arena arena = share_memory(*model.module);
  SharedModel shared(std::move(model), arena);
  const at::Tensor input = at::ones({1, 4});
  const at::Tensor before = shared.forward(input).detach().clone();
  const std::atomic<std::uint64_t> claimed{0};
  const at::Tensor center = shared.flat();
  Replica replica(Replica::make_memory(center.numel()), center, shared.slices(), claimed, {});
  shared.train_in(replica.parameters());
  EXPECT_TRUE(shared.forward(input).equal(before));
  replica.parameters().zero_();
  EXPECT_EQ(shared.forward(input).abs().max().item<float>(), 0.0F) << "the module reads the replica";
  EXPECT_GT(arena.tensor("0.weight").abs().max().item<float>(), 0.0F) << "and not the center";
  for (const at::Tensor& parameter : shared.parameters()) EXPECT_TRUE(parameter.requires_grad());
}

TEST_F(ReplicaTest, ItsNamesAreThoseOfTheCommandLine) {
  for (const Replicas replicas : {Replicas::one, Replicas::per_numa, Replicas::per_worker}) {
    EXPECT_EQ(replicas_named(to_string(replicas)), replicas);
  }
  EXPECT_THROW((void)replicas_named("per-cpu"), UsageError);
}

}  // namespace
}  // namespace hogpen
