#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>

namespace hogpen {

/// Forks a child in which `body` runs; its result is the child's exit code, 99 when it throws.
inline pid_t start_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  try {
    ::_exit(body());
  } catch (const std::exception& error) {  // or gtest would catch it, and go on with the next test in the child
    std::fprintf(stderr, "a child of the test threw: %s\n", error.what());
    ::_exit(99);
  }
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
