#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "runtime/core/error.h"
#include "runtime/core/life.h"

namespace hogpen {
namespace {

// Forks a child that sends its Life and then waits to be killed.
std::pair<int, Life> start_child() {
  int ends[2];
  syscall_ok(::pipe(ends), "pipe");
  const int pid = syscall_ok(::fork(), "fork");
  if (pid == 0) {
    const Life life = my_life();
    (void)!::write(ends[1], &life, sizeof(life));
    for (;;) ::pause();
  }
  Life life = Life::none;
  syscall_ok(::read(ends[0], &life, sizeof(life)), "read");
  ::close(ends[0]);
  ::close(ends[1]);
  return {pid, life};
}

void kill_and_reap(int pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

TEST(Life, IsTheSameInAllThreads) {
  const Life mine = my_life();
  Life seen = Life::none;
  std::thread([&] { seen = my_life(); }).join();
  EXPECT_EQ(seen, mine);
  EXPECT_TRUE(is_alive(mine));
}

TEST(Life, OfAChildEndsWithItAndIsNotItsParents) {
  const Life mine = my_life();
  const auto [pid, childs] = start_child();
  EXPECT_NE(childs, mine);
  EXPECT_TRUE(is_alive(childs));
  kill_and_reap(pid);
  EXPECT_FALSE(is_alive(childs));
  EXPECT_TRUE(is_alive(mine));
}

TEST(Life, IsSeenByAChild) {
  const Life parents = my_life();
  const int pid = syscall_ok(::fork(), "fork");
  if (pid == 0) ::_exit(is_alive(parents) ? 0 : 1);
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Life, OfAZombieHasEnded) {
  (void)my_life();
  const auto [pid, childs] = start_child();
  ::kill(pid, SIGKILL);
  siginfo_t info;
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  EXPECT_FALSE(is_alive(childs));
  ::waitpid(pid, nullptr, 0);
}

TEST(Life, IsNeverGivenTwice) {
  (void)my_life();
  Life last = Life::none;
  for (int i = 0; i < 100; ++i) {
    const auto [pid, life] = start_child();
    EXPECT_GT(life, last);
    last = life;
    kill_and_reap(pid);
  }
}

TEST(Life, OfNobodyIsNotAlive) {
  EXPECT_FALSE(is_alive(Life::none));
  EXPECT_FALSE(is_alive(static_cast<Life>(1'000'000)));
}

TEST(Life, CannotBeJoinedByAProcessThatHasAFamily) {
  (void)my_life();
  EXPECT_THROW(join_family(Fd(::dup(0))), UsageError);
}

}  // namespace
}  // namespace hogpen
