#include "runtime/core/error.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "runtime/core/deadline.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

TEST(Error, KeepsItsMessageAndItsHintApart) {
  const Error error("the disk is full", "free some space");
  EXPECT_STREQ(error.what(), "the disk is full");
  EXPECT_EQ(error.hint(), "free some space");
}

TEST(SystemError, NamesTheCallAndTheTextOfErrno) {
  const SystemError error("open /nowhere", ENOENT);
  EXPECT_STREQ(error.what(), "open /nowhere: No such file or directory");
  EXPECT_EQ(error.error_number(), ENOENT);
  EXPECT_EQ(error.hint(), "");
}

TEST(SystemError, DescribesAnErrorNumberThatDoesNotExist) {
  EXPECT_STREQ(SystemError("call", 99999).what(), "call: unknown error");
}

TEST(FormatError, NamesFileAndPlace) {
  const FormatError error("a.csv", "line 3", "two columns instead of three");
  EXPECT_STREQ(error.what(), "a.csv: line 3: two columns instead of three");
  EXPECT_EQ(error.file(), "a.csv");
  EXPECT_EQ(error.where(), "line 3");
}

TEST(Require, DoesNothingWhenTheConditionHolds) {
  EXPECT_NO_THROW(require(true, "{} is fine", 1));
}

TEST(Require, ThrowsTheFormattedMessageOtherwise) {
  try {
    require(false, "the batch size must be positive, but is {}", -3);
    FAIL() << "must throw";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "the batch size must be positive, but is -3");
  }
}

TEST(SyscallOk, PassesAResultThatIsNotNegativeOn) {
  EXPECT_EQ(syscall_ok(0, "call"), 0);
  EXPECT_EQ(syscall_ok(7L, "call"), 7L);
}

TEST(SyscallOk, ThrowsErrnoForANegativeResult) {
  errno = EACCES;
  try {
    syscall_ok(-1, "mmap");
    FAIL() << "must throw";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), EACCES);
    EXPECT_STREQ(error.what(), "mmap: Permission denied");
  }
}

TEST(SignalName, IsTheNameThatPeopleKnow) {
  EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
  EXPECT_EQ(signal_name(SIGKILL), "SIGKILL");
}

TEST(SignalName, IsANumberForASignalWithoutName) {
  EXPECT_EQ(signal_name(70), "signal 70");
}

TEST(WorkerExit, IsOkOnlyWithExitCodeZeroAndNothingToSay) {
  EXPECT_TRUE((WorkerExit{.exit_code = 0}.ok()));
  EXPECT_FALSE((WorkerExit{.exit_code = 1}.ok()));
  EXPECT_FALSE((WorkerExit{.signal = SIGKILL}.ok()));
  EXPECT_FALSE((WorkerExit{.exit_code = 0, .message = "lost its data"}.ok()));
  EXPECT_FALSE(WorkerExit{}.ok());
}

TEST(WorkerExit, DescribesADeathBySignal) {
  const WorkerExit exit{.rank = 2, .pid = 4711, .signal = SIGSEGV, .message = "at address 0x10"};
  EXPECT_EQ(exit.describe(), "worker 2 (pid 4711) was killed by SIGSEGV: at address 0x10");
}

TEST(WorkerExit, DescribesAnExitCode) {
  EXPECT_EQ((WorkerExit{.rank = 0, .pid = 12, .exit_code = 3}.describe()), "worker 0 (pid 12) ended with exit code 3");
}

TEST(WorkerExit, DescribesAThreadThatThrew) {
  EXPECT_EQ((WorkerExit{.rank = 1, .message = "no such file"}.describe()), "worker 1 failed: no such file");
}

TEST(WorkerExit, DescribesAnOrderlyEnd) {
  EXPECT_EQ((WorkerExit{.rank = 1, .pid = 5, .exit_code = 0}.describe()), "worker 1 (pid 5) ended");
}

TEST(WorkerError, SaysWhatItsExitSays) {
  const WorkerError error({.rank = 3, .pid = 9, .signal = SIGKILL}, "was it the OOM killer?");
  EXPECT_STREQ(error.what(), "worker 3 (pid 9) was killed by SIGKILL");
  EXPECT_EQ(error.exit().signal, SIGKILL);
  EXPECT_EQ(error.hint(), "was it the OOM killer?");
}

TEST(Deadline, NeverPasses) {
  EXPECT_TRUE(Deadline::never().is_never());
  EXPECT_FALSE(Deadline::never().has_passed());
  EXPECT_EQ(Deadline::never().poll_timeout(), -1);
}

TEST(Deadline, HasPassedAfterNoWaitAndLeavesNothing) {
  for (const auto wait : {0s, -5s}) {
    const Deadline deadline = Deadline::after(wait);
    EXPECT_TRUE(deadline.has_passed());
    EXPECT_EQ(deadline.remaining(), Deadline::Clock::duration::zero());
    EXPECT_EQ(deadline.poll_timeout(), 0);
  }
}

TEST(Deadline, RoundsUpForPollSoThatALoopDoesNotSpin) {
  EXPECT_EQ(Deadline::after(1h).poll_timeout(), 3'600'000);
  EXPECT_GE(Deadline::after(500us).poll_timeout(), 0);
  EXPECT_LE(Deadline::after(500us).poll_timeout(), 1);
}

TEST(Deadline, KeepsALongWaitWithinWhatPollTakes) {
  EXPECT_EQ(Deadline::after(24h * 365).poll_timeout(), 1'000'000'000);
}

TEST(Deadline, IsNeverForAWaitBeyondTheClock) {
  EXPECT_TRUE(Deadline::after(Deadline::Clock::duration::max()).is_never());
  EXPECT_FALSE(Deadline::after(Deadline::Clock::duration::min() / 2).is_never());
}

TEST(Deadline, IsOrderedByTime) {
  EXPECT_LT(Deadline::after(1s), Deadline::after(1h));
  EXPECT_LT(Deadline::after(1h), Deadline::never());
}

}  // namespace
}  // namespace hogpen
