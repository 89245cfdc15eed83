#include "runtime/process/process.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "runtime/core/fd_passing.h"
#include "runtime/memory/segment.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

bool has_children() {
  return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD;
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

WorkerExit end_of(const std::function<void()>& body) {
  return Process::start(body).wait(Deadline::after(30s)).value();
}

TEST(Process, JoinsAChildThatReturned) {
  EXPECT_TRUE(Process::start([] {}).join());
  EXPECT_FALSE(has_children());
}

TEST(Process, AChildSharesMemoryWithItsParent) {
  const Segment segment = Segment::create("test", sizeof(int));
  int& value = *reinterpret_cast<int*>(segment.data());
  Process::start([&] { value = 42; }).join();
  EXPECT_EQ(value, 42);
}

TEST(Process, AnExceptionOfTheChildIsThrownByJoin) {
  Process child = Process::start([] { throw std::runtime_error("the pen is empty"); }, {.rank = 3});
  try {
    child.join();
    FAIL() << "join did not throw";
  } catch (const WorkerError& error) {
    EXPECT_EQ(error.exit().rank, 3);
    EXPECT_EQ(error.exit().pid, child.pid());
    EXPECT_EQ(error.exit().exit_code, 1);
    EXPECT_STREQ(error.what(),
                 fmt::format("worker 3 (pid {}) ended with exit code 1: the pen is empty", child.pid()).c_str());
  }
}

TEST(Process, AUsageErrorOfTheChildHasExitCodeTwoAndItsHint) {
  const WorkerExit exit = end_of([] { throw UsageError("no such hog", "look in the pen"); });
  EXPECT_EQ(exit.exit_code, 2);
  EXPECT_EQ(exit.message, "no such hog\nhint: look in the pen");
}

TEST(Process, AnExceptionThatIsNoStdExceptionIsReportedToo) {
  const WorkerExit exit = end_of([] { throw 7; });
  EXPECT_EQ(exit.exit_code, 1);
  EXPECT_FALSE(exit.message.empty());
}

TEST(Process, ASegmentationFaultHasAReport) {
  const WorkerExit exit = end_of([] {
    volatile std::uintptr_t address = 0x1234;
    *reinterpret_cast<volatile int*>(address) = 1;
  });
  EXPECT_EQ(exit.signal, SIGSEGV);
  EXPECT_EQ(exit.message, "SIGSEGV: no memory is mapped at address 0x1234");
  EXPECT_NE(exit.describe().find("was killed by SIGSEGV"), std::string::npos);
}

TEST(Process, AStackOverflowHasAReport) {
  struct Deep {
    static int down(int n) {
      volatile char frame[4096];
      frame[0] = static_cast<char>(n);
      return n == 0 ? frame[0] : down(n - 1) + frame[0];
    }
  };
  const WorkerExit exit = end_of([] {
    volatile int depth = 1'000'000;
    if (Deep::down(depth) == 42) ::_exit(7);
  });
  EXPECT_EQ(exit.signal, SIGSEGV);
  EXPECT_NE(exit.message.find("SIGSEGV"), std::string::npos);
}

TEST(Process, AnAbortHasAReport) {
  const WorkerExit exit = end_of([] { std::abort(); });
  EXPECT_EQ(exit.signal, SIGABRT);
  EXPECT_EQ(exit.message, "SIGABRT: abort() was called");
}

TEST(Process, AnExitCodeOfItsOwnComesBack) {
  const WorkerExit exit = end_of([] { ::_exit(9); });
  EXPECT_EQ(exit.exit_code, 9);
  EXPECT_FALSE(exit.ok());
}

TEST(Process, WaitGivesNothingBeforeTheEnd) {
  Process child = Process::start([] { ::pause(); });
  EXPECT_FALSE(child.wait(Deadline::after(20ms)).has_value());
  EXPECT_FALSE(child.join(Deadline::after(0ms)));
  child.signal(SIGKILL);
  EXPECT_EQ(child.wait(Deadline::after(30s)).value().signal, SIGKILL);
  EXPECT_EQ(child.wait(Deadline::after(0ms)).value().signal, SIGKILL) << "the end can be asked for again";
}

TEST(Process, ADestroyedProcessLeavesNoChildAndNoDescriptor) {
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) Process child = Process::start([] { ::pause(); });
  EXPECT_FALSE(has_children());
  EXPECT_EQ(open_descriptors(), before);
}

TEST(Process, AChildDiesWithItsParent) {
  const Segment segment = Segment::create("test", sizeof(int));
  std::atomic<int>& grandchild = *new (segment.data()) std::atomic<int>(0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  {
    Process parent = Process::start([&] {
      Process child = Process::start([] { ::pause(); });
      grandchild.store(child.pid());
      ::pause();
    });
    while (grandchild.load() == 0) std::this_thread::sleep_for(1ms);
    parent.signal(SIGKILL);
    EXPECT_EQ(parent.wait(Deadline::after(30s)).value().signal, SIGKILL);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(grandchild.load(), &status, 0), grandchild.load());
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(Process, RefusesToForkFromAProcessWithThreadsAndNamesThem) {
  std::atomic<bool> done{false};
  std::thread culprit([&] {
    ::prctl(PR_SET_NAME, "culprit");
    while (!done.load()) std::this_thread::sleep_for(1ms);
  });
  std::this_thread::sleep_for(20ms);
  try {
    Process::start([] {}).join();
    ADD_FAILURE() << "it forked";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("it has 2: "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'culprit'"), std::string::npos) << error.what();
  }
  done.store(true);
  culprit.join();
}

TEST(Process, TheChildHasTheThreadBudgetItWasGiven) {
  const Segment segment = Segment::create("test", sizeof(int));
  int& threads = *reinterpret_cast<int*>(segment.data());
  Process::start([&] { threads = at::get_num_threads(); }, {.threads = 3}).join();
  EXPECT_EQ(threads, 3);
}

TEST(Process, SignalsBlockedByTheParentAreNotBlockedInTheChild) {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  Process child = Process::start([] {
    for (;;) ::pause();
  });
  ::sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  std::this_thread::sleep_for(20ms);
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(Deadline::after(30s)).value().signal, SIGTERM);
}

TEST(Process, WhatTheParentHasBufferedIsNotWrittenTwice) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  FILE* stream = ::fdopen(ends[1], "w");
  std::fputs("once ", stream);
  Process::start([&] { std::fputs("child", stream); }).join();
  std::fclose(stream);
  char text[64] = {};
  const ssize_t n = ::read(ends[0], text, sizeof(text) - 1);
  EXPECT_EQ(std::string(text, static_cast<std::size_t>(n)), "once child");
  ::close(ends[0]);
}

TEST(Mutex, ANewOwnerLearnsOfTheDeathOfTheLast) {
  const Segment segment = Segment::create("test", sizeof(Mutex));
  Mutex& mutex = *new (segment.data()) Mutex;
  const WorkerExit exit = end_of([&] {
    const auto guard = mutex.lock(Deadline::never());
    ::raise(SIGKILL);
  });
  ASSERT_EQ(exit.signal, SIGKILL);
  {
    const auto guard = mutex.lock(Deadline::after(30s));
    ASSERT_TRUE(guard.has_value());
    EXPECT_TRUE(guard->previous_owner_died());
  }
  EXPECT_FALSE(mutex.lock(Deadline::after(30s))->previous_owner_died());
}

TEST(FdPassing, ADescriptorOfAChildArrives) {
  const auto [mine, childs] = socket_pair();
  Process child = Process::start([socket = childs.get()] {
    const Segment segment = Segment::create("from a child", 1);
    segment.data()[0] = std::byte{7};
    send_fd(socket, segment.fd());
  });
  child.join();
  const Segment segment = Segment::attach(receive_fd(mine.get(), Deadline::after(30s)));
  EXPECT_EQ(segment.data()[0], std::byte{7}) << "it outlives the process that made it";
}

TEST(FdPassing, AClosedOrSilentEndIsAnError) {
  auto [mine, other] = socket_pair();
  EXPECT_THROW((void)receive_fd(mine.get(), Deadline::after(1ms)), TimeoutError);
  other.reset();
  EXPECT_THROW((void)receive_fd(mine.get(), Deadline::after(30s)), Error);
}

}  // namespace
}  // namespace hogpen
