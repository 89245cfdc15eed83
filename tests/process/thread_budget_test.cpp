#include "runtime/process/thread_budget.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "runtime/memory/limits.h"
#include "runtime/process/process.h"

namespace hogpen {
namespace {

// Runs in a child, because a budget stays with its process. Throws what the child's expectations say.
template <class Body>
void in_child(Body body, ProcessOptions options = {}) {
  Process::start(body, std::move(options)).join();
}

void require_equal(int actual, int expected) {
  require(actual == expected, "{} instead of {}", actual, expected);
}

int threads_of_this_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

TEST(ThreadBudget, WithoutOneTheUsableCpusCount) {
  EXPECT_EQ(default_workers(), usable_cpus());
}

TEST(ThreadBudget, AChildHasWhatItWasStartedWith) {
  in_child([] { require_equal(default_workers(), 1); }, {.threads = 1});
  in_child([] { require_equal(default_workers(), std::min(2, usable_cpus())); }, {.threads = 2});
  EXPECT_EQ(default_workers(), usable_cpus()) << "its parent keeps its own";
}

TEST(ThreadBudget, ABudgetAboveTheUsableCpusGivesNoMoreWorkers) {
  in_child([] { require_equal(default_workers(), usable_cpus()); }, {.threads = 1000});
}

TEST(ThreadBudget, ParallelRegionsHaveItAndStartTheirThreadsNoSooner) {
  in_child(
      [] {
        require_equal(at::get_num_threads(), 3);
        require_safe_to_fork();
        (void)at::ones({1 << 20}).sum();
        require_equal(threads_of_this_process(), 3);
      },
      {.threads = 3});
}

TEST(ThreadBudget, AGrandchildStaysWithinItsParents) {
  in_child(
      [] {
        in_child(
            [] {
              require_equal(default_workers(), 1);
              require_equal(at::get_num_threads(), 1);
            },
            {.threads = 8});
        in_child([] { require_equal(default_workers(), 1); });
      },
      {.threads = 1});
}

TEST(ThreadBudget, ItShrinksAndNeverGrows) {
  in_child([] {
    require_equal(set_thread_budget(5), 5);
    require_equal(set_thread_budget(3), 3);
    require_equal(set_thread_budget(4), 3);
  });
}

TEST(ThreadBudget, ABudgetOfNothingIsRefused) {
  EXPECT_THROW(set_thread_budget(0), UsageError);
}

}  // namespace
}  // namespace hogpen
