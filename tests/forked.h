#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace hogpen {

/// Forks a child in which `body` runs; its result is the child's exit code.
inline pid_t start_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  return child;
}

/// Waits for a child: its exit code, or 128 and the signal that killed it.
inline int exit_code_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline int exit_code_of_child(const std::function<int()>& body) {
  return exit_code_of(start_child(body));
}

}  // namespace hogpen
