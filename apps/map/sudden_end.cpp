#include "apps/map/sudden_end.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <span>
#include <string>

namespace hogpen {
namespace {

// A handler has no other way to find them; nothing of them changes while it may run.
struct {
  std::span<const std::byte> in;
  std::string message;
  std::string temporary;
} g_at_end;

std::atomic_flag g_ends;

// Calls only what POSIX allows in a handler.
void on_signal(int number, ::siginfo_t* info, void*) {
  while (g_ends.test_and_set()) ::pause();  // Threads that read the same file come here together; the first one speaks.
  ::unlink(g_at_end.temporary.c_str());
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  const std::byte* begin = g_at_end.in.data();
  if (number == SIGBUS && address >= begin && address < begin + g_at_end.in.size()) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, g_at_end.message.data(), g_at_end.message.size());
    ::_exit(1);
  }
  ::signal(number, SIG_DFL);
  ::raise(number);  // It ends as it would have without a handler.
}

}  // namespace

SuddenEnd::SuddenEnd() {
  ::sigset_t held;
  ::sigemptyset(&held);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaddset(&held, kSignals[i]);
    ::sigaction(kSignals[i], nullptr, &before_[i]);
  }
  ::pthread_sigmask(SIG_BLOCK, &held, &mask_before_);
}

void SuddenEnd::guard(const Source& in, const std::filesystem::path& temporary) {
  g_at_end = {
      in.bytes,
      fmt::format("hogpen: error: {} was shortened, or its disk failed, while it was read\n"
                  "hint: map it again when nobody writes to it\n",
                  in.name),
      temporary.string(),
  };
  struct ::sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  ::sigfillset(&action.sa_mask);  // so that no thread waits for itself
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

SuddenEnd::~SuddenEnd() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

}  // namespace hogpen
