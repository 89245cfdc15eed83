#include "runtime/process/stop_signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"

namespace hogpen {
namespace {

constexpr std::array kNumbers = {SIGINT, SIGTERM};

// Of the process, as handlers are; never destroyed, because a signal may come while it exits.
struct Collector {
  std::mutex mutex;
  int users = 0;
  int owner = 0;  // the process that collects: a forked child inherits this, but has no part in it
  Fd read;
  Fd write;
  std::array<struct sigaction, kNumbers.size()> before;
};

Collector& collector() {
  static auto* one = new Collector;
  return *one;
}

std::atomic<int> g_write_fd{-1};  // A handler has no other way to find them.
std::atomic<int> g_owner{0};

void on_signal(int number) {
  // In a child that was forked just now and has not set its own dispositions yet, the signal is not for the launcher.
  if (g_owner.load() != ::getpid()) return;
  const int saved_errno = errno;
  const auto byte = static_cast<unsigned char>(number);
  [[maybe_unused]] const auto written = ::write(g_write_fd.load(), &byte, 1);  // Full: thousands came before it.
  errno = saved_errno;
}

void install(Collector& all) {
  int ends[2];
  syscall_ok(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
  all.read = Fd(ends[0]);
  all.write = Fd(ends[1]);
  g_write_fd.store(all.write.get());
  g_owner.store(::getpid());
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kNumbers.size(); ++i) ::sigaction(kNumbers[i], &action, &all.before[i]);
}

void uninstall(Collector& all) {
  for (std::size_t i = 0; i < kNumbers.size(); ++i) ::sigaction(kNumbers[i], &all.before[i], nullptr);
  g_owner.store(0);
  all.read.reset();
  all.write.reset();
}

}  // namespace

StopSignals::StopSignals() {
  Collector& all = collector();
  const std::lock_guard lock(all.mutex);
  if (all.owner != ::getpid()) all.users = 0;
  if (all.users == 0) install(all);
  all.owner = ::getpid();
  ++all.users;
}

StopSignals::~StopSignals() {
  Collector& all = collector();
  const std::lock_guard lock(all.mutex);
  if (--all.users == 0) uninstall(all);
}

int StopSignals::fd() const noexcept {
  return collector().read.get();
}

std::optional<int> StopSignals::next() noexcept {
  unsigned char number = 0;
  return ::read(fd(), &number, 1) == 1 ? std::optional<int>(number) : std::nullopt;
}

}  // namespace hogpen
