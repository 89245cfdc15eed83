#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <vector>

#include "runtime/work/pool.h"
#include "tests/wait_until.h"

namespace hogpen {

/// The pids of all workers once all of them run. Pool::worker_pids has 0 for one that does not yet, and kill(0) is for
/// the whole process group: the test, and whoever runs it.
inline std::vector<int> running_workers(const Pool& pool) {
  std::vector<int> pids;
  const bool all_run = wait_until(std::chrono::seconds(60), [&] {
    pids = pool.worker_pids();
    return std::ranges::find(pids, 0) == pids.end();
  });
  if (!all_run) throw std::runtime_error("not all workers of a pool began to run");
  return pids;
}

}  // namespace hogpen
