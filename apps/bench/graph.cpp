#include <cstddef>
#include <optional>
#include <vector>

#include "apps/bench/suites.h"
#include "runtime/work/graph.h"
#include "runtime/work/pool.h"

namespace hogpen {
namespace {

constexpr std::size_t kWidth = 1'000;
constexpr std::size_t kLayers = 100;
constexpr std::size_t kLayersForProcesses = 10;
constexpr std::size_t kChain = 100'000;

using Layer = std::vector<Delayed<int>>;

// Tasks that do nothing, each with two neighbours of the layer before; 10^5 of them with kLayers.
Layer build_layers(std::size_t layers) {
  const auto one = delayed([] { return 1; });
  const auto sum = delayed([](int a, int b) { return (a + b) & 0xff; });
  Layer layer;
  for (std::size_t i = 0; i < kWidth; ++i) layer.push_back(one());
  for (std::size_t k = 1; k < layers; ++k) {
    Layer next;
    next.reserve(kWidth);
    for (std::size_t i = 0; i < kWidth; ++i) next.push_back(sum(layer[i], layer[(i + 1) % kWidth]));
    layer = std::move(next);
  }
  return layer;
}

Layer build_chain() {
  const auto step = delayed([](int x) { return x + 1; });
  Delayed<int> last = step(0);
  for (std::size_t i = 1; i < kChain; ++i) last = step(std::move(last));
  return {last};
}

double nanoseconds_a_task(std::size_t tasks, double seconds) {
  return 1e9 * seconds / static_cast<double>(tasks);
}

}  // namespace

void bench_graph(Recorder& recorder) {
  {
    Pool pool({.workers = 2});
    Executor processes({.place = Place::processes, .processes = &pool});
    const Layer layers = build_layers(kLayersForProcesses);
    recorder.measure("compute a task with two dependencies, 2 processes", "us", [&] {
      return nanoseconds_a_task(kWidth * kLayersForProcesses, seconds_of([&] { (void)compute(processes, layers); })) /
             1e3;
    });
  }
  Executor threads({.place = Place::threads, .threads = 2});
  constexpr std::size_t kTasks = kWidth * kLayers;
  recorder.measure("build a task with two dependencies", "ns", [] {
    std::optional<Layer> layers;  // whose end is not timed
    return nanoseconds_a_task(kTasks, seconds_of([&] { layers.emplace(build_layers(kLayers)); }));
  });
  recorder.measure("build and compute it, 2 threads", "ns", [&] {
    std::optional<Layer> layers;
    return nanoseconds_a_task(kTasks, seconds_of([&] {
                                layers.emplace(build_layers(kLayers));
                                (void)compute(threads, *layers);
                              }));
  });
  const Layer layers = build_layers(kLayers);
  recorder.measure("compute it, 2 threads", "ns",
                   [&] { return nanoseconds_a_task(kTasks, seconds_of([&] { (void)compute(threads, layers); })); });
  recorder.measure("compute it, calling thread", "ns",
                   [&] { return nanoseconds_a_task(kTasks, seconds_of([&] { (void)compute(layers); })); });
  const Layer chain = build_chain();
  recorder.measure("compute a task of a chain, 2 threads", "ns",
                   [&] { return nanoseconds_a_task(kChain, seconds_of([&] { (void)compute(threads, chain); })); });
  recorder.measure("compute a task of a chain, calling thread", "ns",
                   [&] { return nanoseconds_a_task(kChain, seconds_of([&] { (void)compute(chain); })); });
}

}  // namespace hogpen
