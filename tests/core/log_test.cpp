#include "runtime/core/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <string>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"

namespace hogpen {
namespace {

/// What `body` writes to stderr while stderr is `write_end`, as `read_end` gets it.
std::string written_to(const Fd& write_end, const Fd& read_end, const std::function<void()>& body) {
  const Fd before(syscall_ok(::dup(STDERR_FILENO), "dup"));
  syscall_ok(::dup2(write_end.get(), STDERR_FILENO), "dup2");
  body();
  syscall_ok(::dup2(before.get(), STDERR_FILENO), "dup2");
  std::array<char, 256> bytes{};
  const auto size = syscall_ok(::read(read_end.get(), bytes.data(), bytes.size()), "read");
  return {bytes.data(), static_cast<std::size_t>(size)};
}

std::string written_to_a_terminal(const std::function<void()>& body) {
  const Fd screen(syscall_ok(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), "posix_openpt"));
  syscall_ok(::grantpt(screen.get()), "grantpt");
  syscall_ok(::unlockpt(screen.get()), "unlockpt");
  const Fd terminal(syscall_ok(::open(::ptsname(screen.get()), O_WRONLY | O_NOCTTY | O_CLOEXEC), "open"));
  return written_to(terminal, screen, body);
}

std::string written_to_a_pipe(const std::function<void()>& body) {
  std::array<int, 2> ends{};
  syscall_ok(::pipe2(ends.data(), O_CLOEXEC), "pipe2");
  const Fd read_end(ends[0]);
  return written_to(Fd(ends[1]), read_end, body);
}

void warn() {
  log(LogLevel::warning, "worker {} died", 2);
}

TEST(Log, WritesOneLineWithoutEscapesToWhatIsNoTerminal) {
  EXPECT_EQ(written_to_a_pipe(warn), "hogpen: warning: worker 2 died\n");
}

TEST(Log, ErasesTheProgressLineThatItOverwritesOnATerminal) {
  ::setenv("TERM", "xterm", 1);
  EXPECT_EQ(written_to_a_terminal(warn), "\x1b[Khogpen: warning: worker 2 died\r\n");
}

TEST(Log, WritesNoEscapesToATerminalThatKnowsNone) {
  ::setenv("TERM", "dumb", 1);
  EXPECT_EQ(written_to_a_terminal(warn), "hogpen: warning: worker 2 died\r\n");
  ::unsetenv("TERM");
  EXPECT_EQ(written_to_a_terminal(warn), "hogpen: warning: worker 2 died\r\n");
}

TEST(Log, DropsWhatIsLessUrgentThanItsLevel) {
  EXPECT_EQ(written_to_a_pipe([] {
              log(LogLevel::debug, "dropped");
              log(LogLevel::info, "kept");
            }),
            "hogpen: kept\n");
}

}  // namespace
}  // namespace hogpen
