#include "runtime/process/thread_budget.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "runtime/memory/limits.h"

namespace hogpen {
namespace {

// Relaxed throughout: the number alone is read.
std::atomic<int> g_budget{std::numeric_limits<int>::max()};

}  // namespace

int default_workers() {
  return std::min(usable_cpus(), g_budget.load(std::memory_order_relaxed));
}

int detail::lower_thread_budget(int threads) {
  int budget = g_budget.load(std::memory_order_relaxed);
  while (threads < budget && !g_budget.compare_exchange_weak(budget, threads, std::memory_order_relaxed)) {
  }
  return std::min(threads, budget);
}

}  // namespace hogpen
