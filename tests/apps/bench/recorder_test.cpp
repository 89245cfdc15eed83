#include "apps/bench/recorder.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

namespace hogpen {
namespace {

using namespace std::chrono_literals;

/// A recorder on a clock that only samples move.
struct Bench {
  explicit Bench(Recorder::Options options = {}) {
    options.now = [this] { return Recorder::Clock::time_point(time); };
    recorder.emplace(std::move(options));
    recorder->begin_suite("sync");
  }

  /// Each call takes that long, and returns the next of the values, whose last stays.
  std::function<double()> sample(std::chrono::nanoseconds duration, std::vector<double> values) {
    return [this, duration, values = std::move(values)] {
      time += duration;
      return values[std::min(calls++, values.size() - 1)];
    };
  }

  std::optional<Recorder> recorder;
  std::chrono::nanoseconds time{};
  std::size_t calls = 0;
};

TEST(Recorder, StopsAtTheNoiseBound) {
  Bench bench({.per_figure = 1s, .noise_percent = 2});
  const auto figure = bench.recorder->measure("quiet", "us", bench.sample(50ms, {100, 99, 101, 100}));
  EXPECT_EQ(figure->samples, 5u);
  EXPECT_LE(figure->noise_percent, 2);
  EXPECT_EQ(bench.calls, 7u);  // with two to warm up
}

TEST(Recorder, TakesMoreSamplesWhileTheyAreNoisy) {
  Bench bench({.per_figure = 1s, .noise_percent = 2});
  const auto figure = bench.recorder->measure("settles", "us", bench.sample(20ms, {100, 100, 50, 150, 100}));
  EXPECT_GT(figure->samples, 5u);
  EXPECT_LT(figure->samples, 40u);
  EXPECT_LE(figure->noise_percent, 2);
}

TEST(Recorder, StopsWhenTheTimeIsOut) {
  Bench bench({.per_figure = 1s, .noise_percent = 0});
  int i = 0;
  const auto figure = bench.recorder->measure("noisy", "us", [&] {
    bench.time += 10ms;
    return ++i % 2 == 0 ? 1.0 : 2.0;
  });
  EXPECT_EQ(bench.time, 1s);
  EXPECT_EQ(figure->samples, 75u);  // A quarter of the time went by in the hope that it would settle.
}

TEST(Recorder, TakesFiveSamplesWithoutTime) {
  Bench bench({.per_figure = 0s});
  EXPECT_EQ(bench.recorder->measure("hasty", "us", bench.sample(1s, {1, 2, 3, 4, 5, 6, 7}))->samples, 5u);
  EXPECT_EQ(bench.calls, 6u);
}

TEST(Recorder, DoesNotTakeAQuickLuckyStreakForTheWhole) {
  Bench bench({.per_figure = 1s, .noise_percent = 2});
  bench.recorder->measure("steady", "us", bench.sample(1ms, {1}));
  EXPECT_GE(bench.time, 100ms);
}

TEST(Recorder, TakesABoundedNumberOfSamples) {
  Bench bench({.per_figure = 3600s, .noise_percent = -1});
  EXPECT_EQ(bench.recorder->measure("endless", "us", bench.sample(1ns, {1}))->samples, 10'000u);
}

TEST(Recorder, WarmUpIsNotAmongTheSamples) {
  Bench bench;
  const auto figure = bench.recorder->measure("cold", "us", bench.sample(10ms, {1000, 100, 10, 10, 10}));
  EXPECT_EQ(figure->most, 10);
}

TEST(Recorder, KeepsWhatItMeasuresAndSaysItAtOnce) {
  std::vector<std::string> said;
  Bench bench({.on_figure = [&](const Figure& figure) { said.push_back(figure.name); },
               .on_note = [&](const Note& note) { said.push_back(note.text); }});
  const auto figure = bench.recorder->measure(
      {.name = "exp of 1024", .unit = "GB/s", .series = "threads", .size = 1024, .group = "exp"}, bench.sample(1s, {5}),
      [limits = std::vector<double>{90, 20, 10}, next = std::size_t{0}]() mutable { return limits[next++ % 3]; });
  bench.recorder->note("threads pay from 1024 on");
  EXPECT_EQ(said, (std::vector<std::string>{"exp of 1024", "threads pay from 1024 on"}));
  EXPECT_EQ(bench.recorder->figures().at(0).size, 1024);
  EXPECT_EQ(bench.recorder->notes().at(0).suite, "sync");
  EXPECT_EQ(figure->suite, "sync");
  EXPECT_EQ(percent_of_limit(*figure), 25);
}

TEST(Recorder, LeavesOutWhatNobodyWants) {
  Bench bench({.is_wanted = [](const std::string& name) { return name == "sync/wanted"; }});
  EXPECT_FALSE(bench.recorder->measure("other", "us", bench.sample(1s, {1})));
  EXPECT_EQ(bench.calls, 0u);
  EXPECT_TRUE(bench.recorder->measure("wanted", "us", bench.sample(1s, {1})));
  EXPECT_EQ(bench.recorder->figures().size(), 1u);
}

TEST(PercentOfLimit, OfATimeIsHowMuchTheLimitTakesOfIt) {
  Figure figure;
  EXPECT_FALSE(percent_of_limit(figure));
  figure.unit = "us";
  figure.median = 10;
  figure.limit = 8;
  EXPECT_EQ(percent_of_limit(figure), 80);
}

}  // namespace
}  // namespace hogpen
