#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"
#include "runtime/core/fd.h"
#include "runtime/process/crash_report.h"

namespace hogpen {

struct ProcessOptions {
  std::string name = "hogpen-worker";  ///< as shown by ps and top (15 bytes of it)
  int rank = 0;                        ///< for errors
  int threads = 0;                     ///< the child's budget (set_thread_budget), also of LibTorch; 0: as its parent
  std::vector<int> cpus = {};          ///< the CPUs it may run on, which also bound its threads; empty: as its parent
  bool daemon = true;                  ///< a destroyed Process kills its child; false: it waits for it, however long
  CrashReport* report = nullptr;       ///< shared memory for its last words; by default the Process has its own
  bool ignore_stop_signals = false;    ///< SIGINT and SIGTERM: its parent speaks for it
};

/// A forked child that runs one function.
///
/// The child dies with its parent (PDEATHSIG), also when it was detached, and ends by `_exit`: no destructor of the
/// parent's runs in it. What it throws, and how it crashed, comes back as text; a failure that nobody asks for is
/// logged. A Process that is destroyed before its child ended kills it, or waits for it when it is no daemon: nothing
/// is left running unseen, and no zombie.
///
/// Sharing: one thread an object. Owns: the child, a descriptor of it, and a page for its report.
class Process {
 public:
  /// Forks. In the child `body()` runs: exit code 0 when it returns, 2 when it throws a UsageError or FormatError (to
  /// try again would be of no use), 1 when it throws anything else.
  ///
  /// Throws: UsageError when the process has more than one thread or has opened a GPU, and names them: a forked child
  /// of such a process can hang; UsageError for a CPU that this process may not use; SystemError when it cannot fork.
  [[nodiscard]] static Process start(const std::function<void()>& body, ProcessOptions options = {});

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  /// 0 once it was detached or moved from.
  [[nodiscard]] int pid() const noexcept { return pid_; }
  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] int rank() const noexcept { return options_.rank; }
  [[nodiscard]] bool is_daemon() const noexcept { return options_.daemon; }
  /// A descriptor that is readable once the child has ended: for poll(2) beside others.
  [[nodiscard]] int sentinel() const noexcept { return pidfd_.get(); }

  /// Waits for the end and tells how it was; no value if it did not come in time.
  [[nodiscard]] std::optional<WorkerExit> wait(Deadline deadline);
  /// Waits for the end: false if it did not come in time. Throws: WorkerError unless the child succeeded.
  bool join(Deadline deadline = Deadline::never());

  [[nodiscard]] bool is_alive() const;
  /// The exit code, once it ended by itself.
  [[nodiscard]] std::optional<int> exit_code();
  /// The signal that ended it, once one did; `signal_name` names it.
  [[nodiscard]] std::optional<int> exit_signal();

  /// Sends a signal; nothing happens when it has ended.
  void signal(int number) noexcept;
  void terminate() noexcept;  ///< SIGTERM: the child may clean up, or ignore it
  void kill() noexcept;       ///< SIGKILL

  /// Lets the child go on without this object and returns its pid. It is reaped after its end by the next start, wait
  /// or detach of any Process, and by `detached_children`. It still ends with its parent at the latest.
  int detach();

 private:
  Process() = default;
  friend std::vector<int> detached_children();

  [[nodiscard]] std::optional<WorkerExit> wait_for_this(Deadline deadline);
  void require_child() const;
  void end_unseen() noexcept;
  struct Detached;
  static void reap_detached();

  int pid_ = 0;
  Fd pidfd_;
  ProcessOptions options_;
  std::shared_ptr<CrashReport> own_report_;
  std::optional<WorkerExit> exit_;
  int last_signal_ = 0;  // sent from here: an end by it is no news
};

/// Waits until one of them has ended, and returns those that have, in their order; none if none did in time.
[[nodiscard]] std::vector<Process*> wait_any(std::span<Process* const> processes, Deadline deadline);

/// The pids of the detached children of this process that still run.
[[nodiscard]] std::vector<int> detached_children();

/// Calls `body` and returns its exit code as `Process::start` defines it; what it throws is written to `report`.
[[nodiscard]] int run_and_report(const std::function<void()>& body, CrashReport& report) noexcept;

/// Throws UsageError unless a child forked now would be safe: one thread, no GPU open.
void require_safe_to_fork();

}  // namespace hogpen
