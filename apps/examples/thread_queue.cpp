// Threads that put results into a queue: taken as they come, and put in order by an id.
#include <fmt/ranges.h>

#include <chrono>
#include <thread>
#include <vector>

#include "runtime/channel/thread_queue.h"

using namespace std::chrono_literals;

struct Result {
  int id;
  int square;
};

// The later a thread was started, the sooner it is done.
std::vector<std::jthread> start_threads(hogpen::ThreadQueue<Result>& results) {
  std::vector<std::jthread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&results, id] {
      std::this_thread::sleep_for(40ms * (4 - id));
      results.put({.id = id, .square = id * id});
    });
  }
  return threads;
}

int main() {
  hogpen::ThreadQueue<Result> results;
  {
    const auto threads = start_threads(results);
    std::vector<int> unordered;
    for (int i = 0; i < 4; ++i) unordered.push_back(results.get()->square);
    fmt::print("as they come: {}\n", fmt::join(unordered, " "));
  }
  {
    const auto threads = start_threads(results);
    std::vector<int> ordered(4);
    for (int i = 0; i < 4; ++i) {
      const Result result = results.get().value();
      ordered[static_cast<std::size_t>(result.id)] = result.square;
    }
    fmt::print("in order of their ids: {}\n", fmt::join(ordered, " "));
  }
}
