#include "runtime/process/process.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/core/fd_passing.h"
#include "runtime/memory/segment.h"
#include "runtime/process/affinity.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kSoon = 30s;  // Longer than anything here takes, also under a sanitizer.

[[noreturn]] void sleep_for_good() {
  for (;;) ::pause();
}

bool has_children() {
  siginfo_t info;
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;  // It reaps none.
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

TEST(Process, ItKnowsItsNameRankAndPid) {
  Process child = Process::start(sleep_for_good, {.name = "porker", .rank = 5});
  EXPECT_EQ(child.name(), "porker");
  EXPECT_EQ(child.rank(), 5);
  EXPECT_TRUE(child.is_daemon());
  EXPECT_EQ(::kill(child.pid(), 0), 0);
}

TEST(Process, IsAliveUntilItHasEnded) {
  auto [mine, childs] = socket_pair();
  Process child = Process::start([socket = childs.get()] {
    char byte = 0;
    (void)!::read(socket, &byte, 1);
  });
  EXPECT_TRUE(child.is_alive());
  EXPECT_FALSE(child.exit_code().has_value());
  EXPECT_FALSE(child.exit_signal().has_value());
  ASSERT_EQ(::write(mine.get(), "x", 1), 1);
  EXPECT_TRUE(child.join(Deadline::after(kSoon)));
  EXPECT_FALSE(child.is_alive());
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_FALSE(child.exit_signal().has_value());
}

TEST(Process, AZombieIsNotAlive) {
  const Process child = Process::start([] {});
  pollfd ended = {.fd = child.sentinel(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&ended, 1, 30'000), 1);
  EXPECT_FALSE(child.is_alive());
}

TEST(Process, TerminateEndsItWithSigterm) {
  Process child = Process::start(sleep_for_good);
  child.terminate();
  EXPECT_EQ(child.wait(Deadline::after(kSoon)).value().signal, SIGTERM);
  EXPECT_EQ(child.exit_signal(), SIGTERM);
  EXPECT_EQ(signal_name(child.exit_signal().value()), "SIGTERM");
  EXPECT_FALSE(child.exit_code().has_value());
  child.terminate();  // Nothing happens to who has the pid now.
}

TEST(Process, KillEndsOneThatIgnoresSigterm) {
  auto [mine, childs] = socket_pair();
  Process child = Process::start([socket = childs.get()] {
    ::signal(SIGTERM, SIG_IGN);
    (void)!::write(socket, "x", 1);
    sleep_for_good();
  });
  char byte = 0;
  ASSERT_EQ(::read(mine.get(), &byte, 1), 1);
  child.terminate();
  EXPECT_FALSE(child.wait(Deadline::after(50ms)).has_value());
  child.kill();
  EXPECT_EQ(child.wait(Deadline::after(kSoon)).value().signal, SIGKILL);
}

TEST(Process, KillEndsOneThatIsStopped) {
  Process child = Process::start(sleep_for_good);
  child.signal(SIGSTOP);
  EXPECT_FALSE(child.wait(Deadline::after(20ms)).has_value()) << "a stop is no end";
  child.kill();
  EXPECT_EQ(child.wait(Deadline::after(kSoon)).value().signal, SIGKILL);
}

TEST(Process, ADestroyedOneThatIsNoDaemonIsWaitedFor) {
  const Segment segment = Segment::create("test", sizeof(int));
  int& value = *reinterpret_cast<int*>(segment.data());
  {
    const Process child = Process::start(
        [&] {
          std::this_thread::sleep_for(50ms);
          value = 42;
        },
        {.daemon = false});
    EXPECT_FALSE(child.is_daemon());
  }
  EXPECT_EQ(value, 42);
  EXPECT_FALSE(has_children());
}

TEST(Process, AFailureThatNobodyAskedForIsLogged) {
  testing::internal::CaptureStderr();
  {
    const Process child = Process::start([] { throw std::runtime_error("unseen"); }, {.daemon = false});
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("exit code 1: unseen; nobody had waited"), std::string::npos);
}

TEST(Process, AnEndOfOurDoingIsNotLogged) {
  testing::internal::CaptureStderr();
  {
    const Process child = Process::start(sleep_for_good);
  }
  {
    Process child = Process::start(sleep_for_good);
    child.terminate();
    while (child.is_alive()) std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Process, ADetachedOneGoesOnAndLeavesNoZombie) {
  auto [mine, childs] = socket_pair();
  int pid = 0;
  {
    Process child = Process::start([socket = childs.get()] {
      char byte = 0;
      (void)!::read(socket, &byte, 1);
    });
    pid = child.detach();
    EXPECT_EQ(child.pid(), 0);
    EXPECT_FALSE(child.is_alive());
    EXPECT_THROW((void)child.wait(Deadline::after(0ms)), UsageError);
    EXPECT_THROW(child.detach(), UsageError);
  }
  EXPECT_EQ(detached_children(), std::vector<int>{pid}) << "its object is gone, it is not";
  ASSERT_EQ(::write(mine.get(), "x", 1), 1);
  while (!detached_children().empty()) std::this_thread::sleep_for(1ms);
  EXPECT_FALSE(has_children());
}

TEST(Process, TheNextStartReapsTheDetachedWithoutAsking) {
  constexpr int kMany = 20;
  for (int i = 0; i < kMany; ++i) Process::start([] {}).detach();
  const Deadline soon = Deadline::after(kSoon);
  while (has_children() && !soon.has_passed()) {
    std::this_thread::sleep_for(5ms);
    Process::start([] {}).join();
  }
  EXPECT_FALSE(has_children());
}

TEST(Process, AFailureOfADetachedOneIsLogged) {
  testing::internal::CaptureStderr();
  Process::start([] { throw std::runtime_error("far away"); }).detach();
  while (!detached_children().empty()) std::this_thread::sleep_for(1ms);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("far away"), std::string::npos);
}

TEST(Process, TheDetachedOfAParentAreNotThoseOfItsChild) {
  Process::start([] { std::this_thread::sleep_for(50ms); }).detach();
  Process::start([] { require(detached_children().empty(), "a child has inherited them"); }).join();
  while (!detached_children().empty()) std::this_thread::sleep_for(1ms);
}

TEST(Process, DetachingOneThatHasEndedIsNoError) {
  Process child = Process::start([] {});
  child.join();
  EXPECT_GT(child.detach(), 0);
  EXPECT_FALSE(has_children());
}

TEST(Process, ItsSentinelCanBePolledBesideOthers) {
  Process lasting = Process::start(sleep_for_good);
  Process brief = Process::start([] {});
  std::array<pollfd, 2> sentinels = {pollfd{.fd = lasting.sentinel(), .events = POLLIN, .revents = 0},
                                     pollfd{.fd = brief.sentinel(), .events = POLLIN, .revents = 0}};
  EXPECT_EQ(::poll(sentinels.data(), sentinels.size(), 30'000), 1);
  EXPECT_EQ(sentinels[0].revents, 0);
  EXPECT_NE(sentinels[1].revents, 0);
}

TEST(WaitAny, GivesThoseThatHaveEnded) {
  Process a = Process::start(sleep_for_good);
  Process b = Process::start(sleep_for_good);
  Process c = Process::start(sleep_for_good);
  const std::array<Process*, 3> all = {&a, &b, &c};
  EXPECT_EQ(wait_any(all, Deadline::after(20ms)), std::vector<Process*>{});
  b.kill();
  EXPECT_EQ(wait_any(all, Deadline::after(kSoon)), std::vector<Process*>{&b});
  EXPECT_EQ(b.wait(Deadline::after(kSoon)).value().signal, SIGKILL);
  EXPECT_EQ(wait_any(all, Deadline::after(0ms)), std::vector<Process*>{&b}) << "also when it was waited for";
}

TEST(WaitAny, OfNoneReturnsAtOnce) {
  EXPECT_TRUE(wait_any({}, Deadline::never()).empty());
}

TEST(WaitAny, OfADetachedOneIsRefused) {
  Process child = Process::start([] {});
  child.detach();
  const std::array<Process*, 1> all = {&child};
  EXPECT_THROW((void)wait_any(all, Deadline::never()), UsageError);
  while (!detached_children().empty()) std::this_thread::sleep_for(1ms);
}

TEST(Affinity, AChildRunsOnTheCpusItWasGiven) {
  const int last = allowed_cpus().back();
  Process::start(
      [last] {
        require(allowed_cpus() == std::vector{last}, "it may run elsewhere");
        require(::sched_getcpu() == last, "it runs elsewhere");
        require(at::get_num_threads() == 1, "one CPU, {} threads", at::get_num_threads());
        std::thread([last] { require(allowed_cpus() == std::vector{last}, "its thread may run elsewhere"); }).join();
      },
      {.cpus = {last}})
      .join();
}

TEST(Affinity, IsDealtInSharesThatBeginAgainWhenTheCpusRunOut) {
  const std::vector<int> cpus = {2, 3, 5, 7, 11};
  EXPECT_EQ(share_of_cpus(cpus, 0, 1), (std::vector{2}));
  EXPECT_EQ(share_of_cpus(cpus, 6, 1), (std::vector{3}));
  EXPECT_EQ(share_of_cpus(cpus, 1, 2), (std::vector{5, 7}));
  EXPECT_EQ(share_of_cpus(cpus, 2, 2), (std::vector{11, 2}));
  EXPECT_EQ(share_of_cpus(cpus, 3, 100), cpus);
}

TEST(Affinity, ACpuThatIsNotAllowedIsNamed) {
  const std::size_t descriptors = open_descriptors();
  try {
    Process::start([] {}, {.cpus = {8000}}).join();
    ADD_FAILURE() << "it started";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("CPU 8000 is not among those this process may use: "), std::string::npos)
        << error.what();
  }
  EXPECT_THROW((void)Process::start([] {}, {.cpus = {-1}}), UsageError);
  const int cpu = allowed_cpus().front();
  EXPECT_THROW((void)Process::start([] {}, {.cpus = {cpu, cpu}}), UsageError);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_FALSE(has_children());
}

TEST(Affinity, AGrandchildStaysOnTheCpusOfItsParent) {
  const std::vector<int> all = allowed_cpus();
  if (all.size() < 2) GTEST_SKIP() << "one CPU";
  Process::start(
      [&] {
        try {
          Process::start([] {}, {.cpus = {all[1]}}).join();
          throw std::runtime_error("it got another CPU");
        } catch (const UsageError&) {
        }
      },
      {.cpus = {all[0]}})
      .join();
}

[[noreturn]] void store_pid_and_sleep(std::atomic<int>& pid) {
  pid.store(::getpid());
  sleep_for_good();
}

// Runs `parent` in a child, then `then`, and waits as its subreaper for the end of the grandchild that stores its pid.
int end_of_grandchild(const std::function<void(std::atomic<int>&)>& parent, const std::function<void(Process&)>& then) {
  const Segment segment = Segment::create("test", sizeof(int));
  std::atomic<int>& grandchild = *new (segment.data()) std::atomic<int>(0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  {
    Process child = Process::start([&] { parent(grandchild); });
    while (grandchild.load() == 0) std::this_thread::sleep_for(1ms);
    then(child);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(grandchild.load(), &status, 0), grandchild.load());
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  return WTERMSIG(status);
}

TEST(Process, AChildDiesWithItsParent) {
  const int signal = end_of_grandchild(
      [](std::atomic<int>& grandchild) {
        const Process child = Process::start([&] { store_pid_and_sleep(grandchild); });
        sleep_for_good();
      },
      [](Process& parent) {
        parent.kill();
        EXPECT_EQ(parent.wait(Deadline::after(kSoon)).value().signal, SIGKILL);
      });
  EXPECT_EQ(signal, SIGKILL);
}

TEST(Process, ADetachedChildEndsWithItsParentToo) {
  const int signal = end_of_grandchild(
      [](std::atomic<int>& grandchild) {
        Process::start([&] { store_pid_and_sleep(grandchild); }).detach();
        while (grandchild.load() == 0) std::this_thread::sleep_for(1ms);
      },
      [](Process& parent) { EXPECT_TRUE(parent.join(Deadline::after(kSoon))); });
  EXPECT_EQ(signal, SIGKILL);
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

// A joined thread stands in /proc/self/task for a moment longer: asked for in a loop, it is seen there in some of the
// rounds.
TEST(Process, AThreadThatWasJoinedDoesNotKeepItFromForking) {
  for (int i = 0; i < 5000; ++i) {
    pthread_t thread{};
    ASSERT_EQ(::pthread_create(&thread, nullptr, [](void* nothing) { return nothing; }, nullptr), 0);
    while (::pthread_tryjoin_np(thread, nullptr) != 0) continue;
    ASSERT_NO_THROW(require_safe_to_fork()) << "after " << i << " threads";
  }
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
