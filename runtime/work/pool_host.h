#pragma once

#include <memory>

#include "runtime/core/deadline.h"
#include "runtime/memory/shared.h"
#include "runtime/work/pool_options.h"
#include "runtime/work/pool_state.h"

namespace hogpen {

/// What keeps a pool's workers going.
///
/// Sharing: its owner, one thread at a time. Owns: the workers; none is left when it is destroyed.
class PoolHost {
 public:
  virtual ~PoolHost() = default;
  /// Waits until all workers have ended after the pool was closed or terminated: false if they did not in time.
  virtual bool join(Deadline deadline) = 0;
  /// Ends the workers, and returns when they have: a process at once, a thread after its task.
  virtual void terminate() = 0;
  /// Throws: WorkerError when the workers' supervisor is gone. The pool is of no more use then.
  virtual void check() = 0;
};

/// Workers that are processes, under a supervisor that is one too, forked now: a clean process from which workers can
/// be forked and replaced, whatever its parent does meanwhile.
///
/// Throws: as `Process::start`.
[[nodiscard]] std::unique_ptr<PoolHost> start_pool_processes(const Shared<PoolState>& pool, const PoolOptions& options);

/// Workers that are threads of this process.
[[nodiscard]] std::unique_ptr<PoolHost> start_pool_threads(const Shared<PoolState>& pool, const PoolOptions& options);

}  // namespace hogpen
