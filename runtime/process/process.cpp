#include "runtime/process/process.h"

#include <c10/util/Exception.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/core/log.h"
#include "runtime/process/affinity.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

std::shared_ptr<CrashReport> shared_report() {
  void* page = ::mmap(nullptr, sizeof(CrashReport), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw SystemError("mmap of a page for a child's report", errno);
  return {new (page) CrashReport, [](CrashReport* report) { ::munmap(report, sizeof(CrashReport)); }};
}

// Handlers and the blocked signals of the parent are not the child's.
void reset_signals(bool ignore_stop_signals) {
  for (const int number : {SIGINT, SIGTERM}) ::signal(number, ignore_stop_signals ? SIG_IGN : SIG_DFL);
  for (const int number : {SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void set_limits(const ProcessOptions& options) {
  int threads = options.threads;
  if (!options.cpus.empty()) {
    set_affinity(options.cpus);
    const int cpus = static_cast<int>(options.cpus.size());
    threads = threads > 0 ? std::min(threads, cpus) : cpus;
  }
  if (threads > 0) set_thread_budget(threads);
}

[[noreturn]] void run_child(const std::function<void()>& body, const ProcessOptions& options, int parent) {
  // Before anything else: a launcher that dies must take its children along, also when it died before this line.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  reset_signals(options.ignore_stop_signals);
  ::prctl(PR_SET_NAME, options.name.c_str());
  const int code = run_and_report(
      [&] {
        install_crash_report(*options.report);
        set_limits(options);
        body();
      },
      *options.report);
  std::fflush(nullptr);
  ::_exit(code);
}

// The name of a thread from its directory in /proc; nothing when it ends. A thread that has been joined may take a
// moment to go, and what is left of it does a fork no harm.
std::optional<std::string> name_of_running_thread(const std::filesystem::path& task) {
  constexpr unsigned kExiting = 0x4;  // PF_EXITING
  constexpr int kFieldsBeforeFlags = 6;
  std::string text;
  try {
    text = read_file(task / "stat");  // proc(5): number (name) state … flags …
  } catch (const SystemError&) {
    return std::nullopt;
  }
  const std::size_t name = text.find('(') + 1;
  const std::size_t name_end = text.rfind(')');
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < kFieldsBeforeFlags; ++i) fields >> skipped;
  unsigned flags = 0;
  fields >> flags;
  if ((flags & kExiting) != 0) return std::nullopt;
  return text.substr(name, name_end - name);
}

// Of the jemalloc in libarrow, which starts it when it is loaded, and prepares for forks itself (pthread_atfork).
constexpr std::string_view kAllocatorsThread = "jemalloc_bg_thd";

}  // namespace

int run_and_report(const std::function<void()>& body, CrashReport& report) noexcept {
  int code = 1;
  try {
    try {
      body();
      return 0;
    } catch (const Error& error) {
      const bool retry_is_of_no_use =
          dynamic_cast<const UsageError*>(&error) || dynamic_cast<const FormatError*>(&error);
      code = retry_is_of_no_use ? 2 : 1;
      report.set(error.hint().empty() ? error.what() : fmt::format("{}\nhint: {}", error.what(), error.hint()));
    } catch (const c10::Error& error) {
      report.set(error.what_without_backtrace());
    } catch (const std::exception& error) {
      report.set(error.what());
    }
  } catch (...) {
    report.set("an exception that is no std::exception, or no memory to describe it");
  }
  return code;
}

void require_safe_to_fork() {
  namespace fs = std::filesystem;
  std::string names;
  int threads = 0;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    const auto name = name_of_running_thread(task.path());
    if (name == kAllocatorsThread) continue;
    if (name) names += fmt::format("{}'{}'", threads++ > 0 ? ", " : "", *name);
  }
  require(threads == 1,
          "a process must have one thread when it forks workers, but it has {}: {}. Fork before the first parallel "
          "tensor operation, or use threads as workers",
          threads, names);
  for (const auto& fd : fs::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const std::string target = fs::read_symlink(fd.path(), ignored).string();
    require(!target.starts_with("/dev/nvidia"),
            "a process must not have opened a GPU when it forks workers, but it holds {}. Fork before the first use of "
            "CUDA, or use threads as workers",
            target);
  }
}

Process Process::start(const std::function<void()>& body, ProcessOptions options) {
  require_safe_to_fork();
  if (!options.cpus.empty()) require_allowed(options.cpus);
  reap_detached();
  Process process;
  if (!options.report) {
    process.own_report_ = shared_report();
    options.report = process.own_report_.get();
  }
  options.report->clear();
  process.options_ = std::move(options);
  std::fflush(nullptr);  // What is buffered now would be written twice.
  const int parent = ::getpid();
  process.pid_ = syscall_ok(::fork(), "fork");
  if (process.pid_ == 0) run_child(body, process.options_, parent);
  // Not pidfd_open(): the header of glibc 2.36 declares it without C linkage.
  process.pidfd_ = Fd(static_cast<int>(syscall_ok(::syscall(SYS_pidfd_open, process.pid_, 0), "pidfd_open")));
  return process;
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      pidfd_(std::move(other.pidfd_)),
      options_(std::move(other.options_)),
      own_report_(std::move(other.own_report_)),
      exit_(std::move(other.exit_)),
      last_signal_(other.last_signal_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(options_, other.options_);
  std::swap(own_report_, other.own_report_);
  std::swap(exit_, other.exit_);
  std::swap(last_signal_, other.last_signal_);
  return *this;
}

Process::~Process() {
  if (pid_ != 0 && !exit_) end_unseen();
}

void Process::end_unseen() noexcept {
  try {
    if (options_.daemon && is_alive()) kill();
    const WorkerExit exit = wait_for_this(Deadline::never()).value();
    if (!exit.ok() && exit.signal != last_signal_)
      log(LogLevel::warning, "{}; nobody had waited for it", exit.describe());
  } catch (const std::exception& error) {
    log(LogLevel::warning, "cannot end the child {}: {}", pid_, error.what());
  }
}

void Process::require_child() const {
  require(pid_ != 0, "a Process that was detached or moved from has no child to wait for");
}

std::optional<WorkerExit> Process::wait(Deadline deadline) {
  reap_detached();
  return wait_for_this(deadline);
}

std::optional<WorkerExit> Process::wait_for_this(Deadline deadline) {
  require_child();
  while (!exit_) {
    pollfd ended = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&ended, 1, deadline.poll_timeout());
    if (ready < 0 && errno != EINTR) throw SystemError("poll of a child", errno);
    if (ready == 0) return std::nullopt;
    if (ready < 0) continue;
    int status = 0;
    const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
    if (reaped < 0) {
      throw SystemError(fmt::format("waitpid of the child {}", pid_), errno,
                        "something else in this process reaps its children, or SIGCHLD is ignored");
    }
    if (reaped == 0) continue;
    WorkerExit exit{.rank = options_.rank, .pid = pid_, .exit_code = {}, .signal = {}, .message = {}};
    if (options_.report) exit.message = options_.report->text();
    if (WIFSIGNALED(status)) {
      exit.signal = WTERMSIG(status);
    } else {
      exit.exit_code = WEXITSTATUS(status);
    }
    exit_ = std::move(exit);
  }
  return exit_;
}

bool Process::join(Deadline deadline) {
  const auto exit = wait(deadline);
  if (exit && !exit->ok()) throw WorkerError(*exit);
  return exit.has_value();
}

bool Process::is_alive() const {
  if (pid_ == 0 || exit_) return false;
  pollfd ended = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  int ready = 0;
  while ((ready = ::poll(&ended, 1, 0)) < 0) {
    if (errno != EINTR) throw SystemError("poll of a child", errno);
  }
  return ready == 0;
}

std::optional<int> Process::exit_code() {
  const auto exit = wait(Deadline::after({}));
  return exit ? exit->exit_code : std::nullopt;
}

std::optional<int> Process::exit_signal() {
  const auto exit = wait(Deadline::after({}));
  return exit ? exit->signal : std::nullopt;
}

void Process::signal(int number) noexcept {
  if (pid_ == 0 || exit_) return;
  last_signal_ = number;
  ::kill(pid_, number);
}

void Process::terminate() noexcept {
  signal(SIGTERM);
}

void Process::kill() noexcept {
  signal(SIGKILL);
}

std::vector<Process*> wait_any(std::span<Process* const> processes, Deadline deadline) {
  std::vector<pollfd> sentinels;
  for (const Process* process : processes) {
    require(process->pid() != 0, "a Process that was detached or moved from has no child to wait for");
    sentinels.push_back({.fd = process->sentinel(), .events = POLLIN, .revents = 0});
  }
  std::vector<Process*> ended;
  if (sentinels.empty()) return ended;
  while (::poll(sentinels.data(), sentinels.size(), deadline.poll_timeout()) < 0) {
    if (errno != EINTR) throw SystemError("poll of children", errno);
  }
  for (std::size_t i = 0; i < processes.size(); ++i) {
    if (sentinels[i].revents != 0) ended.push_back(processes[i]);
  }
  return ended;
}

}  // namespace hogpen
