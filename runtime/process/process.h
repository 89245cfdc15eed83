#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"
#include "runtime/core/fd.h"
#include "runtime/process/crash_report.h"

namespace hogpen {

struct ProcessOptions {
  std::string name = "hogpen-worker";  ///< as shown by ps and top (15 bytes of it)
  int rank = 0;                        ///< for errors
  int threads = 0;                     ///< the child's budget (set_thread_budget), also of LibTorch; 0: as its parent
  Report* report = nullptr;            ///< shared memory for its last words; by default the Process has its own
  bool ignore_stop_signals = false;    ///< SIGINT and SIGTERM: its parent speaks for it
};

/// A forked child that runs one function.
///
/// The child dies with its parent (PDEATHSIG) and ends by `_exit`: no destructor of the parent's runs in it. What it
/// throws, and how it crashed, comes back as text. A Process that is destroyed before its child ended kills it: nothing
/// is left running unseen.
///
/// Sharing: one thread. Owns: the child, a descriptor of it, and a page for its report.
class Process {
 public:
  /// Forks. In the child `body()` runs: exit code 0 when it returns, 2 when it throws a UsageError or FormatError (to
  /// try again would be of no use), 1 when it throws anything else.
  ///
  /// Throws: UsageError when the process has more than one thread or has opened a GPU, and names them: a forked child
  /// of such a process can hang; SystemError when it cannot fork.
  [[nodiscard]] static Process start(const std::function<void()>& body, ProcessOptions options = {});

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  [[nodiscard]] int pid() const noexcept { return pid_; }
  /// A descriptor that is readable once the child has ended.
  [[nodiscard]] int sentinel() const noexcept { return pidfd_.get(); }

  /// Waits for the end and tells how it was; no value if it did not come in time.
  [[nodiscard]] std::optional<WorkerExit> wait(Deadline deadline);
  /// Waits for the end: false if it did not come in time. Throws: WorkerError unless the child succeeded.
  bool join(Deadline deadline = Deadline::never());
  /// Sends a signal; nothing happens when it has ended.
  void signal(int number) noexcept;

 private:
  Process() = default;

  int pid_ = 0;
  Fd pidfd_;
  ProcessOptions options_;
  std::shared_ptr<Report> own_report_;
  std::optional<WorkerExit> exit_;
};

/// Calls `body` and returns its exit code as `Process::start` defines it; what it throws is written to `report`.
[[nodiscard]] int run_and_report(const std::function<void()>& body, Report& report) noexcept;

/// Throws UsageError unless a child forked now would be safe: one thread, no GPU open.
void require_safe_to_fork();

}  // namespace hogpen
