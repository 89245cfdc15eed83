#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/memory/shared.h"
#include "runtime/work/pool_state.h"

namespace hogpen {

/// The main of a program that is a pool's worker (`PoolOptions::program`): runs the pool's tasks, those that this
/// program has made known with HOGPEN_TASK, until the pool is over. `int main() { return hogpen::serve_pool(); }`
///
/// Returns: 0. Throws: UsageError when no Pool started this program, when its Pool has another hogpen, and when the
/// shared heap is in use before the call.
int serve_pool();

/// Becomes that program: the last act of a worker's process.
///
/// Throws: SystemError when it cannot be executed.
[[noreturn]] void execute_pool_worker(const std::vector<std::string>& program, const Shared<PoolState>& pool,
                                      std::uint32_t worker, std::uint64_t most_tasks, int threads);

}  // namespace hogpen
