#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/process/launcher.h"

namespace hogpen {

struct PoolOptions {
  int workers = 0;  ///< 0: default_workers(), the CPUs that this process may use
  WorkersAs workers_as = WorkersAs::processes;
  /// Empty: workers are forked from this process. Else each executes this command line, found as the shell finds it;
  /// its main calls `serve_pool` (runtime/work/serve_pool.h), and tasks are NamedTasks. They get and return no Segments
  /// and no CUDA tensors, whose descriptors forked workers alone can find.
  std::vector<std::string> program = {};
  std::function<void()> initializer = {};  ///< run by each worker before its first task; if it fails the pool does
  std::uint64_t max_tasks_per_worker = 0;  ///< chunks, after which a worker is replaced by a fresh one; 0: never
  std::uint32_t retries = 1;               ///< how often a chunk is run again when its worker died of it, or by chance
  std::chrono::milliseconds task_timeout{
      0};                      ///< a worker that runs one chunk longer is killed, and the chunk fails; 0: never
  int threads_per_worker = 0;  ///< of LibTorch's parallel regions; 0: default_workers() / workers, at least 1
};

}  // namespace hogpen
