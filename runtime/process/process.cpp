#include "runtime/process/process.h"

#include <c10/util/Exception.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <utility>

#include "runtime/core/file.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

std::shared_ptr<Report> shared_report() {
  void* page = ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw SystemError("mmap of a page for a child's report", errno);
  return {new (page) Report, [](Report* report) { ::munmap(report, sizeof(Report)); }};
}

// Handlers and the blocked signals of the parent are not the child's.
void reset_signals(bool ignore_stop_signals) {
  for (const int number : {SIGINT, SIGTERM}) ::signal(number, ignore_stop_signals ? SIG_IGN : SIG_DFL);
  for (const int number : {SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
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
        if (options.threads > 0) set_thread_budget(options.threads);
        body();
      },
      *options.report);
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace

int run_and_report(const std::function<void()>& body, Report& report) noexcept {
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
    std::string name = read_file(task.path() / "comm");
    names += fmt::format("{}'{}'", threads++ > 0 ? ", " : "", name.substr(0, name.find('\n')));
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
      exit_(std::move(other.exit_)) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(options_, other.options_);
  std::swap(own_report_, other.own_report_);
  std::swap(exit_, other.exit_);
  return *this;
}

Process::~Process() {
  if (pid_ == 0 || exit_) return;
  signal(SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<WorkerExit> Process::wait(Deadline deadline) {
  while (!exit_) {
    pollfd ended = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&ended, 1, deadline.poll_timeout());
    if (ready < 0 && errno != EINTR) throw SystemError("poll of a child", errno);
    if (ready == 0) return std::nullopt;
    if (ready < 0) continue;
    int status = 0;
    if (syscall_ok(::waitpid(pid_, &status, WNOHANG), "waitpid") == 0) continue;
    WorkerExit exit{
        .rank = options_.rank, .pid = pid_, .exit_code = {}, .signal = {}, .message = options_.report->text()};
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

void Process::signal(int number) noexcept {
  if (pid_ != 0 && !exit_) ::kill(pid_, number);
}

}  // namespace hogpen
