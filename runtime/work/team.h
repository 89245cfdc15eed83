#pragma once

#include <sched.h>

#include <cstddef>
#include <optional>
#include <ranges>
#include <vector>

#include "runtime/process/affinity.h"
#include "runtime/work/pool.h"

namespace hogpen {

/// Threads that run the same body at once; the calling thread is one of them. To run a body that does nothing takes
/// about a microsecond as long as the last one ended a moment ago.
///
/// Sharing: one thread at a time. Owns: the other threads.
class Team {
 public:
  explicit Team(int threads) : threads_(static_cast<std::size_t>(threads)) {
    if (threads > 1) helpers_.emplace(PoolOptions{.workers = threads - 1, .workers_as = WorkersAs::threads});
  }

  /// Calls body(i) for each i < threads, and returns when all are done. The body must not throw.
  template <class Body>
  void run(const Body& body) {
    if (!helpers_) return body(std::size_t{0});
    const Body* const borrowed = &body;
    const std::vector<int>* const cpus = &cpus_;
    const int here = ::sched_getcpu();
    // A scheduler may wake a helper on the very CPU that the caller keeps busy.
    auto helpers = helpers_->map_async(
        [borrowed, cpus, here](std::size_t i) {
          leave_cpu(here, *cpus);
          (*borrowed)(i);
        },
        std::views::iota(std::size_t{1}, threads_), {.chunk_size = 1});
    body(std::size_t{0});
    helpers.get();
  }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_; }

 private:
  std::size_t threads_;
  std::vector<int> cpus_ = allowed_cpus();
  std::optional<Pool> helpers_;
};

}  // namespace hogpen
