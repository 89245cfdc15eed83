// Empty tasks with two dependencies: hogpen's graph beside oneTBB's flow graph, in turns in one process. Prints the
// medians, in nanoseconds a task. `graph_peers [WIDTH LAYERS ROUNDS]`
#include <fmt/core.h>
#include <tbb/flow_graph.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/work/graph.h"

namespace {

constexpr int kThreads = 2;

struct Shape {
  std::size_t width = 1000;
  std::size_t layers = 100;
};

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

using Samples = std::map<std::string, std::vector<double>>;

// Each task of a layer needs two neighbours of the layer before.
std::vector<hogpen::Delayed<int>> build(const Shape& shape) {
  const auto one = hogpen::delayed([] { return 1; });
  const auto sum = hogpen::delayed([](int a, int b) { return (a + b) & 0xff; });
  std::vector<hogpen::Delayed<int>> layer;
  for (std::size_t i = 0; i < shape.width; ++i) layer.push_back(one());
  for (std::size_t k = 1; k < shape.layers; ++k) {
    std::vector<hogpen::Delayed<int>> next;
    for (std::size_t i = 0; i < shape.width; ++i) next.push_back(sum(layer[i], layer[(i + 1) % shape.width]));
    layer = std::move(next);
  }
  return layer;
}

void measure_hogpen(const Shape& shape, hogpen::Executor& executor, Samples& samples) {
  std::optional<std::vector<hogpen::Delayed<int>>> graph;
  const double building = seconds_of([&] { graph.emplace(build(shape)); });
  const double computing = seconds_of([&] { (void)hogpen::compute(executor, *graph); });
  const double again = seconds_of([&] { (void)hogpen::compute(executor, *graph); });
  const double alone = seconds_of([&] { (void)hogpen::compute(*graph); });
  const double destroying = seconds_of([&] { graph.reset(); });
  samples["hogpen: build"].push_back(building);
  samples["hogpen: compute, 2 threads"].push_back(computing);
  samples["hogpen: build and compute, 2 threads"].push_back(building + computing);
  samples["hogpen: compute again, 2 threads"].push_back(again);
  samples["hogpen: compute again, calling thread"].push_back(alone);
  samples["hogpen: destroy"].push_back(destroying);
}

// Its nodes pass no values: each keeps its result where the next ones find it, which costs them nothing here.
void measure_tbb(const Shape& shape, Samples& samples) {
  using Node = tbb::flow::continue_node<tbb::flow::continue_msg>;
  tbb::flow::graph graph;
  std::optional<std::deque<Node>> nodes(std::in_place);
  std::vector<int> results(shape.width * shape.layers);
  const double building = seconds_of([&] {
    for (std::size_t k = 0; k < shape.layers; ++k) {
      for (std::size_t i = 0; i < shape.width; ++i) {
        int* const result = &results[k * shape.width + i];
        if (k == 0) {
          nodes->emplace_back(graph, [result](const tbb::flow::continue_msg&) { *result = 1; });
          continue;
        }
        const std::size_t first = (k - 1) * shape.width;
        const int* const a = &results[first + i];
        const int* const b = &results[first + (i + 1) % shape.width];
        nodes->emplace_back(graph, [=](const tbb::flow::continue_msg&) { *result = (*a + *b) & 0xff; });
        tbb::flow::make_edge((*nodes)[first + i], nodes->back());
        tbb::flow::make_edge((*nodes)[first + (i + 1) % shape.width], nodes->back());
      }
    }
  });
  const auto compute = [&] {
    for (std::size_t i = 0; i < shape.width; ++i) (*nodes)[i].try_put(tbb::flow::continue_msg());
    graph.wait_for_all();
  };
  const double computing = seconds_of(compute);
  const double again = seconds_of(compute);
  const double destroying = seconds_of([&] { nodes.reset(); });
  samples["oneTBB: build"].push_back(building);
  samples["oneTBB: compute, 2 threads"].push_back(computing);
  samples["oneTBB: build and compute, 2 threads"].push_back(building + computing);
  samples["oneTBB: compute again, 2 threads"].push_back(again);
  samples["oneTBB: destroy"].push_back(destroying);
}

}  // namespace

int main(int argc, char** argv) {
  const Shape shape{.width = argc > 1 ? std::stoul(argv[1]) : 1000, .layers = argc > 2 ? std::stoul(argv[2]) : 100};
  const int rounds = argc > 3 ? std::stoi(argv[3]) : 21;
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, kThreads);
  hogpen::Executor executor({.place = hogpen::Place::threads, .threads = kThreads});
  Samples samples;
  for (int round = 0; round < rounds; ++round) {
    Samples warm_up;
    measure_hogpen(shape, executor, round == 0 ? warm_up : samples);
    measure_tbb(shape, round == 0 ? warm_up : samples);
  }
  for (auto& [name, values] : samples) {
    std::ranges::sort(values);
    const double scale = 1e9 / static_cast<double>(shape.width * shape.layers);
    fmt::print("{:<40} {:6.0f} ns a task  ({:.0f}-{:.0f})\n", name, scale * values[values.size() / 2],
               scale * values.front(), scale * values.back());
  }
}
