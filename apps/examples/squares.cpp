// Squares of a vector's elements on a pool of processes: Pool.apply, one task at a time, and Pool.map, all of them.
#include <fmt/ranges.h>

#include <vector>

#include "runtime/work/pool.h"

int square(int x) {
  return x * x;
}

int main() {
  hogpen::Pool pool({.workers = 4});
  const std::vector<int> numbers = {1, 2, 3, 4, 5, 6, 7, 8};

  std::vector<int> applied;
  for (const int x : numbers) applied.push_back(pool.apply(square, x));
  fmt::print("apply: {}\n", fmt::join(applied, " "));

  const std::vector<int> mapped = pool.map(square, numbers);
  fmt::print("map:   {}\n", fmt::join(mapped, " "));
}
