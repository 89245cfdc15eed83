#include "runtime/work/elementwise.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/square.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/transform.h"
#include "runtime/core/error.h"
#include "runtime/memory/arena.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/work/pool.h"
#include "tests/running_workers.h"

namespace hogpen {
namespace {

using kernels::UnaryOp;

// A parallel operation of LibTorch would start threads, and a process with threads must not fork.
const bool kHasOneThread = (at::set_num_threads(1), true);

constexpr std::int64_t kMany = 3'000'001;  // of which each worker gets several pieces

/// An Executor for each place but the GPU; each forced to it.
struct Places {
  explicit Places(bool with_processes) {
    if (with_processes) pool.emplace(PoolOptions{.workers = 2});
    if (with_processes) executors.emplace_back(new Executor({.place = Place::processes, .processes = &*pool}));
    executors.emplace_back(new Executor({.place = Place::caller}));
    executors.emplace_back(new Executor({.place = Place::threads, .threads = 3}));
  }
  std::optional<Pool> pool;
  std::vector<std::unique_ptr<Executor>> executors;
};

at::Tensor numbers(std::initializer_list<std::int64_t> sizes, at::ScalarType dtype = at::kFloat) {
  std::int64_t n = 1;
  for (const std::int64_t size : sizes) n *= size;
  at::Tensor all = at::linspace(-3, 3, n, at::kFloat).to(dtype).reshape(sizes);
  share_memory(all);
  return all;
}

void expect_squares(const at::Tensor& in, const std::unique_ptr<Executor>& executor) {
  const at::Tensor before = in.clone();
  const at::Tensor out = square(in, *executor);
  EXPECT_EQ(out.sizes(), in.sizes());
  EXPECT_TRUE(at::equal(out, at::square(before)));
  EXPECT_TRUE(at::equal(in, before));
}

class ElementwiseIn : public testing::TestWithParam<const char*> {
 protected:
  ElementwiseIn() : places_(std::string(GetParam()) == "processes") {}
  [[nodiscard]] std::vector<std::unique_ptr<Executor>>& executors() { return places_.executors; }

 private:
  Places places_;
};

TEST_P(ElementwiseIn, EveryShapeAndStride) {
  const at::Tensor matrix = numbers({1200, 311});
  const at::Tensor cube = numbers({31, 7, 53});
  for (const auto& executor : executors()) {
    SCOPED_TRACE(name_of(executor->options().place));
    expect_squares(numbers({kMany}), executor);
    expect_squares(numbers({1}), executor);
    expect_squares(numbers({}), executor);
    expect_squares(numbers({0}), executor);
    expect_squares(numbers({4, 0, 3}), executor);
    expect_squares(matrix, executor);
    expect_squares(matrix.t(), executor);
    expect_squares(matrix.select(1, 17), executor);
    expect_squares(matrix.narrow(1, 3, 200), executor);
    expect_squares(matrix.slice(0, 1, 1100, 7).slice(1, 2, 300, 5), executor);
    expect_squares(cube.permute({2, 0, 1}), executor);
    expect_squares(cube.select(1, 3).t(), executor);
    expect_squares(numbers({53}).expand({20, 53}), executor);
    expect_squares(numbers({20, 1}).expand({20, 53}), executor);
  }
}

TEST_P(ElementwiseIn, EveryDtypeHasTheSameBitsInEachPlace) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor in = numbers({100'003}, dtype);
    Executor alone({.place = Place::caller});
    const at::Tensor wanted = exp(in, alone);
    EXPECT_TRUE(at::allclose(wanted.to(at::kDouble), at::exp(in.to(at::kDouble)),
                             dtype == at::kBFloat16 ? 4e-3
                             : dtype == at::kHalf   ? 5e-4
                             : dtype == at::kFloat  ? 1.2e-7
                                                    : 2.3e-16,
                             0));
    for (const auto& executor : executors()) EXPECT_TRUE(at::equal(exp(in, *executor), wanted));
  }
}

TEST_P(ElementwiseIn, AnOutputOfOtherStrides) {
  for (const auto& executor : executors()) {
    const at::Tensor in = numbers({700, 300});
    at::Tensor out = at::zeros({300, 700});
    share_memory(out);
    transform_into({UnaryOp::Kind::square}, in, out.t(), *executor);
    EXPECT_TRUE(at::equal(out.t(), at::square(in)));
    at::Tensor wide = at::zeros({700, 600});
    share_memory(wide);
    transform_into({UnaryOp::Kind::square}, in, wide.slice(1, 1, 600, 2), *executor);
    EXPECT_TRUE(at::equal(wide.slice(1, 1, 600, 2), at::square(in)));
    EXPECT_EQ(wide.slice(1, 0, 600, 2).abs().sum().item<float>(), 0.0F);
  }
}

TEST_P(ElementwiseIn, TheChunksOfAColumn) {
  const at::Tensor column = numbers({100, 100}).select(1, 0);
  const std::vector<at::Tensor> chunks = column.split(25);
  for (const auto& executor : executors()) {
    const std::vector<at::Tensor> parts = transform({UnaryOp::Kind::exp}, chunks, *executor);
    ASSERT_EQ(parts.size(), 4U);
    EXPECT_TRUE(at::allclose(at::cat(parts), at::exp(column), 2e-7, 0));
    EXPECT_TRUE(transform({UnaryOp::Kind::exp}, std::vector<at::Tensor>{}, *executor).empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Places, ElementwiseIn, testing::Values("processes", "threads"),
                         [](const auto& suite) { return std::string(suite.param); });

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Elementwise_threads, WorksInPlace) {
  for (const Place place : {Place::caller, Place::threads}) {
    Executor executor({.place = place, .threads = 3});
    const at::Tensor all = numbers({1000, 700});
    const at::Tensor wanted = at::square(all);
    square_(all, executor);
    EXPECT_TRUE(at::equal(all, wanted));
    const at::Tensor column = all.select(1, 5);
    const at::Tensor others = all.narrow(1, 6, 600).clone();
    negate_(column, executor);
    EXPECT_TRUE(at::equal(column, -wanted.select(1, 5)));
    EXPECT_TRUE(at::equal(all.narrow(1, 6, 600), others));
  }
}

TEST(Elementwise_threads, AllOpsByName) {
  Executor executor({.threads = 1});
  const at::Tensor x = at::linspace(0.1, 4, 1000);
  EXPECT_TRUE(at::allclose(log(x, executor), x.log()));
  EXPECT_TRUE(at::allclose(sigmoid(x, executor), x.sigmoid()));
  EXPECT_TRUE(at::allclose(tanh(x, executor), x.tanh()));
  EXPECT_TRUE(at::equal(relu(-x, executor), (-x).relu()));
  EXPECT_TRUE(at::allclose(sqrt(x, executor), x.sqrt(), 1.2e-7));
  EXPECT_TRUE(at::equal(abs(-x, executor), x));
  EXPECT_TRUE(at::allclose(scale_shift(x, 2, 1, executor), x * 2 + 1));
}

TEST(Elementwise_threads, SizeDecides) {
  Calibration calibration;
  calibration.heavy = {.threads = 1000};
  calibration.light = {.threads = 2000};
  const Executor executor({.threads = 2, .calibration = calibration});
  const UnaryOp exp_op{UnaryOp::Kind::exp};
  const UnaryOp square_op{UnaryOp::Kind::square};
  EXPECT_EQ(choose(exp_op, at::ones({999}), executor).place, Place::caller);
  const Choice choice = choose(exp_op, at::ones({1000}), executor);
  EXPECT_EQ(choice.place, Place::threads);
  EXPECT_EQ(choice.workers, 2);
  EXPECT_EQ(choice.describe(), "2 threads: 1000 elements, and from 1000 on that is faster");
  EXPECT_EQ(choose(square_op, at::ones({1999}), executor).place, Place::caller);
  EXPECT_EQ(choose(square_op, at::ones({2000}), executor).place, Place::threads);
  const Choice alone = choose(exp_op, at::ones({5000}), Executor({.threads = 1, .calibration = calibration}));
  EXPECT_EQ(alone.describe(), "the calling thread: nobody else may");
}

TEST(Elementwise_threads, WhatCannotBeDoneIsRefused) {
  Executor executor({.threads = 1});
  const UnaryOp op{UnaryOp::Kind::square};
  const at::Tensor x = at::ones({4, 6});
  const auto into = [&](const at::Tensor& in, const at::Tensor& out) {
    return refusal([&] { transform_into(op, in, out, executor); });
  };
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(refusal([&] { (void)square(at::ones({3}, at::kInt), executor); }), "not Int");
  has(refusal([&] { (void)square(at::Tensor(), executor); }), "defined");
  has(refusal([&] { (void)square(at::ones({3}).requires_grad_(), executor); }), "no gradients");
  has(refusal([&] { (void)square(at::ones({3, 3}).to_sparse(), executor); }), "dense");
  has(into(x, at::ones({6, 4})), "[4, 6], not [6, 4]");
  has(into(x, at::ones({4, 6}, at::kDouble)), "Float, not Double");
  has(into(x, at::empty({4, 6}, at::TensorOptions(at::kMeta))), "meta");
  has(into(x, at::ones({6}).expand({4, 6})), "same place");
  has(into(at::ones({6, 20}).narrow(1, 0, 15), at::ones({6, 20}).narrow(1, 5, 15)), "nothing was thrown");
  const at::Tensor wide = at::ones({6, 20});
  has(into(wide.narrow(1, 0, 15), wide.narrow(1, 5, 15)), "not overlap");
  has(into(wide.narrow(1, 0, 10), wide.narrow(1, 10, 10)), "nothing was thrown");
  const at::Tensor line = at::ones({10});
  has(into(line.narrow(0, 0, 8), line.narrow(0, 1, 8)), "not overlap");
  EXPECT_TRUE(at::equal(line, at::ones({10})));
  has(refusal([] { Executor({.place = Place::processes}); }), "Pool");
  has(refusal([] { Executor({.threads = -1}); }), "-1");
}

TEST(Elementwise_threads, ABackwardPassSeesThatASavedTensorWasOverwritten) {
  Executor executor({.threads = 1});
  const at::Tensor x = at::ones({3});
  const at::Tensor w = at::ones({3}).requires_grad_();
  const at::Tensor y = (w * x).sum();
  square_(x, executor);
  EXPECT_ANY_THROW(y.backward());
}

TEST(Elementwise_threads, OneLargeChunkIsDoneByAllThreads) {
  Executor executor({.place = Place::threads, .threads = 3});
  const std::vector<at::Tensor> chunks = {numbers({kMany}), numbers({0}), numbers({7})};
  const std::vector<at::Tensor> results = transform({UnaryOp::Kind::square}, chunks, executor);
  for (std::size_t i = 0; i < chunks.size(); ++i) EXPECT_TRUE(at::equal(results[i], at::square(chunks[i])));
}

TEST(Elementwise_threads, ACalibrationForAGpuThatIsGoneFallsBack) {
  if (kernels::cuda_devices() > 0) GTEST_SKIP() << "there is a GPU";
  Calibration calibration;
  calibration.heavy = {.threads = 1000, .gpu = 1};
  Executor executor({.threads = 2, .calibration = calibration});
  EXPECT_EQ(choose({UnaryOp::Kind::exp}, at::ones({5}), executor).place, Place::caller);
  EXPECT_EQ(choose({UnaryOp::Kind::exp}, at::ones({5000}), executor).place, Place::threads);
  EXPECT_TRUE(at::allclose(exp(at::ones({5000}), executor), at::exp(at::ones({5000}))));
}

TEST(Elementwise, AGpuThatIsNotThereIsADeviceError) {
  if (kernels::cuda_devices() > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_THROW(Executor({.place = Place::gpu}), DeviceError);
}

TEST(Elementwise, ProcessesTakeWhatIsSharedAndLargeEnough) {
  Pool pool({.workers = 2});
  Calibration calibration;
  calibration.light = {.threads = 100, .processes = 100};
  Executor executor({.threads = 2, .processes = &pool, .calibration = calibration});
  const UnaryOp op{UnaryOp::Kind::square};
  EXPECT_EQ(choose(op, numbers({100}), executor).place, Place::processes);
  EXPECT_EQ(choose(op, numbers({99}), executor).place, Place::caller);
  EXPECT_EQ(choose(op, at::ones({100}), executor).place, Place::threads);
  EXPECT_TRUE(is_shared(square(numbers({100}), executor)));
  // What is not all in shared memory is done by threads.
  const at::Tensor out = at::zeros({100});
  EXPECT_EQ(choose(op, numbers({100}), out, executor).place, Place::threads);
  transform_into(op, numbers({100}), out, executor);
  EXPECT_TRUE(at::equal(out, at::square(numbers({100}))));
  const std::vector<at::Tensor> mixed = {numbers({100}), at::ones({100})};
  EXPECT_TRUE(at::equal(transform(op, mixed, executor)[1], at::ones({100})));
  EXPECT_EQ(choose(op, numbers({100}), numbers({100}), executor).place, Place::processes);
  const at::Tensor self = numbers({100});
  EXPECT_EQ(choose(op, self, self, executor).place, Place::threads);
  const at::Tensor in_place = numbers({1000});
  const at::Tensor wanted = at::square(in_place);
  square_(in_place, executor);
  EXPECT_TRUE(at::equal(in_place, wanted));
  Executor forced({.place = Place::processes, .processes = &pool});
  EXPECT_NE(refusal([&] { square_(in_place, forced); }).find("in place"), std::string::npos);
  EXPECT_NE(refusal([&] { (void)square(at::ones({3}), forced); }).find("share_memory"), std::string::npos);
}

TEST(Elementwise, ViewsOfAnArena) {
  Pool pool({.workers = 2});
  const std::vector<TensorSpec> specs = {{.name = "w", .shape = {300, 40}}, {.name = "b", .shape = {40}}};
  const Arena arena = Arena::create("test", specs);
  const at::Tensor weights = arena.tensor("w");
  weights.fill_(3);
  arena.tensor("b").fill_(5);
  Executor by_processes({.place = Place::processes, .processes = &pool});
  EXPECT_TRUE(at::equal(square(weights, by_processes), at::square(weights)));
  Executor by_threads({.place = Place::threads, .threads = 2});
  square_(weights, by_threads);
  EXPECT_EQ(weights.sum().item<float>(), 9.0F * 300 * 40);
  EXPECT_EQ(arena.tensor("b").sum().item<float>(), 200.0F);
}

TEST(Elementwise, AKilledWorkerCostsNothingButTime) {
  Pool pool({.workers = 2, .retries = 100});
  Executor executor({.place = Place::processes, .processes = &pool});
  const at::Tensor in = numbers({kMany});
  const at::Tensor wanted = at::exp(in);
  const int victim = running_workers(pool)[0];
  std::jthread killer([victim] { ::kill(victim, SIGKILL); });
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(at::allclose(exp(in, executor), wanted, 2e-7, 0));
}

class StoredCalibration : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "hogpen-calibration-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] std::filesystem::path path() const { return directory_ / "cache" / "calibration.json"; }

 private:
  std::filesystem::path directory_;
};

TEST_F(StoredCalibration, ComesBackOnTheSameMachine) {
  EXPECT_EQ(stored_calibration(path(), 2).machine, "");
  const Calibration measured = calibrate(2);
  const auto tasks = std::filesystem::directory_iterator("/proc/self/task");
  EXPECT_EQ(std::distance(begin(tasks), end(tasks)), 1) << "whoever has calibrated must be able to fork";
  EXPECT_NE(measured.machine, "");
  store_calibration(path(), measured);
  const Calibration stored = stored_calibration(path(), 2);
  EXPECT_EQ(stored.machine, measured.machine);
  EXPECT_EQ(stored.heavy.threads, measured.heavy.threads);
  EXPECT_EQ(stored.light.processes, measured.light.processes);
  EXPECT_EQ(stored.heavy.gpu, measured.heavy.gpu);
  EXPECT_EQ(stored_calibration(path(), 3).machine, "") << "it was measured with two threads";
}

TEST_F(StoredCalibration, ADamagedFileIsNamed) {
  std::filesystem::create_directories(path().parent_path());
  std::ofstream(path()) << "{\"version\": 1";
  try {
    (void)stored_calibration(path(), 2);
    FAIL() << "nothing was thrown";
  } catch (const FormatError& error) {
    EXPECT_EQ(error.file(), path().string());
    EXPECT_NE(error.hint().find("--calibrate"), std::string::npos);
  }
}

}  // namespace
}  // namespace hogpen
