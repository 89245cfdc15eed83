#pragma once

#include <memory>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/process/launcher.h"

namespace hogpen::detail {

/// One life of a worker: from its start to its end, as a process or as a thread.
///
/// Sharing: the supervisor's thread. Owns: the process or thread; one that still runs when it is destroyed is killed,
/// or, a thread, left alone.
class Incarnation {
 public:
  virtual ~Incarnation() = default;
  /// A descriptor that is readable once it has ended.
  [[nodiscard]] virtual int sentinel() const noexcept = 0;
  /// How it ended. Requires: it has.
  [[nodiscard]] virtual WorkerExit collect() = 0;
  /// False for what cannot be killed.
  virtual bool kill() noexcept = 0;
};

/// Starts `body` as worker `rank` with `threads` threads for LibTorch, on `cpus` alone unless they are empty.
[[nodiscard]] std::unique_ptr<Incarnation> start_incarnation(WorkersAs workers_as,
                                                             std::shared_ptr<ControlBlock> control, int rank,
                                                             int threads, std::vector<int> cpus,
                                                             const WorkerBody& body);

}  // namespace hogpen::detail
