#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "apps/bench/suites.h"
#include "runtime/work/pool.h"

namespace hogpen {
namespace {

constexpr std::size_t kManyItems = 1'000'000;
constexpr std::size_t kFewItems = 20'000;
constexpr std::size_t kApplies = 2'000;

std::int64_t square(std::int64_t value) {
  return value * value;
}

// Until the first result: before it no worker is known to run. The pool's end is not timed, nor is it in the peer's.
double start_milliseconds() {
  std::optional<Pool> pool;
  return 1e3 * seconds_of([&] {
           pool.emplace(PoolOptions{.workers = 4});
           (void)pool->apply(square, 1);
         });
}

void measure_maps(Recorder& recorder, Pool& pool, const std::string& suffix) {
  std::vector<std::int64_t> items(kManyItems);
  std::iota(items.begin(), items.end(), 0);
  const auto rate = [&](std::size_t count, std::uint64_t chunk_size) {
    const std::vector<std::int64_t> some(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(count));
    return static_cast<double>(count) / seconds_of([&] { (void)pool.map(square, some, {.chunk_size = chunk_size}); });
  };
  recorder.measure("map of tiny items, automatic chunks" + suffix, "1/s",
                   [&] { return rate(kManyItems, kAutomaticChunks); });
  recorder.measure("map of tiny items, chunks of 1" + suffix, "1/s", [&] { return rate(kFewItems, 1); });
}

}  // namespace

void bench_pool(Recorder& recorder) {
  recorder.measure("start of 4 workers and first result", "ms", start_milliseconds);
  Pool processes({.workers = 2});
  recorder.measure("apply", "us",
                   [&] { return median_microseconds(kApplies, [&] { (void)processes.apply(square, 3); }); });
  measure_maps(recorder, processes, "");
  Pool threads({.workers = 2, .workers_as = WorkersAs::threads});
  recorder.measure("apply, threads", "us",
                   [&] { return median_microseconds(kApplies, [&] { (void)threads.apply(square, 3); }); });
  measure_maps(recorder, threads, ", threads");
}

}  // namespace hogpen
