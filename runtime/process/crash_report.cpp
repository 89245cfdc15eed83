#include "runtime/process/crash_report.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

CrashReport* g_report = nullptr;  // A signal handler has no other way to find it.

// Nothing here may allocate or lock: it runs in a signal handler of a process in an unknown state.
class SignalSafeText {
 public:
  void add(std::string_view text) noexcept {
    const std::size_t n = std::min(text.size(), buffer_.size() - size_);
    std::memcpy(buffer_.data() + size_, text.data(), n);
    size_ += n;
  }
  void add_hex(std::uintptr_t value) noexcept {
    std::array<char, 2 * sizeof(value)> digits{};
    std::size_t first = digits.size();
    do {
      digits[--first] = "0123456789abcdef"[value & 0xf];
      value >>= 4;
    } while (value != 0);
    add("0x");
    add({digits.data() + first, digits.size() - first});
  }
  [[nodiscard]] std::string_view view() const noexcept { return {buffer_.data(), size_}; }

 private:
  std::array<char, 200> buffer_{};
  std::size_t size_ = 0;
};

std::string_view describe(int signal, int code) noexcept {
  switch (signal) {
    case SIGSEGV:
      return code == SEGV_MAPERR ? "no memory is mapped" : "access is not allowed";
    case SIGBUS:
      return "the memory behind a mapping is gone or misaligned";
    case SIGFPE:
      return "integer division by zero or overflow";
    case SIGILL:
      return "an instruction this CPU does not know";
    default:
      return "abort() was called";
  }
}

void on_crash(int signal, siginfo_t* info, void*) {
  SignalSafeText text;
  const char* name = sigabbrev_np(signal);
  text.add("SIG");
  text.add(name ? name : "?");
  text.add(": ");
  text.add(describe(signal, info->si_code));
  if (signal != SIGABRT) {
    text.add(" at address ");
    text.add_hex(reinterpret_cast<std::uintptr_t>(info->si_addr));
  }
  g_report->set(text.view());
  ::raise(signal);  // SA_RESETHAND: the default action, so that the exit status is the signal's.
}

}  // namespace

void CrashReport::set(std::string_view text) noexcept {
  const std::size_t n = std::min(text.size(), kCapacity);
  std::copy_n(text.data(), n, text_);  // Not memcpy: an empty view may have no data.
  length_.store(static_cast<std::uint32_t>(n), std::memory_order_release);
}

std::string CrashReport::text() const {
  const std::uint32_t length = length_.load(std::memory_order_acquire);
  return std::string(text_, std::min<std::size_t>(length, kCapacity));
}

void install_crash_report(CrashReport& report) {
  static std::array<std::byte, 64 * 1024> stack;  // The process needs it until its end.
  g_report = &report;
  const stack_t alternate = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  syscall_ok(::sigaltstack(&alternate, nullptr), "sigaltstack");
  struct sigaction action{};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    syscall_ok(::sigaction(signal, &action, nullptr), "sigaction");
  }
}

}  // namespace hogpen
