// A shared array and its lock: multiprocessing.Array and Value.
#include <fmt/ranges.h>

#include <numeric>

#include "runtime/process/spawn.h"
#include "runtime/sync/shared_array.h"

int main() {
  const hogpen::SharedArray<long> counts(4);  // Made before the fork, so that the children have it, too.
  const hogpen::SharedValue<double> total(0.0);

  hogpen::spawn(
      [&](int rank) {
        for (int i = 0; i < 10'000; ++i) {
          const auto guard = counts.lock();  // Free again at the end of the block, or of the process.
          counts[static_cast<std::size_t>(i % 4)] += 1;
        }
        const auto guard = total.lock();
        *total += 0.5 * rank;
      },
      4);

  fmt::print("counts {}, together {}\n", fmt::join(counts, " "), std::reduce(counts.begin(), counts.end()));
  fmt::print("total {}\n", *total);
}
