#include "runtime/channel/pipe.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "runtime/core/error.h"
#include "runtime/process/process.h"
#include "tests/footprint.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

using Pipe = LeavesNothing<>;

TEST_F(Pipe, CarriesMessagesBothWaysWithinAProcess) {
  auto [left, right] = pipe<std::string>();
  EXPECT_FALSE(left.poll());
  left.send("ping");
  EXPECT_TRUE(right.poll());
  EXPECT_EQ(right.recv(), "ping");
  right.send("pong");
  EXPECT_EQ(left.recv(), "pong");
  EXPECT_TRUE(left.is_open());
  EXPECT_EQ(left.recv(Deadline::after(100ms)), std::nullopt);  // longer than a look after the peer
  EXPECT_TRUE(left.is_open());
}

TEST_F(Pipe, CarriesMessagesBothWaysBetweenProcesses) {
  auto [mine, its] = pipe<std::string>();
  Process child = Process::start([end = its]() mutable {
    while (auto message = end.recv(soon())) end.send(*message + "!", soon());
  });
  for (int i = 0; i < 100; ++i) {
    mine.send(std::to_string(i), soon());
    ASSERT_EQ(mine.recv(soon()), std::to_string(i) + "!");
  }
  mine.close();
  EXPECT_TRUE(child.join(soon()));
}

TEST_F(Pipe, OneWayGoesFromTheSecondEndToTheFirst) {
  auto [reader, writer] = pipe<int>({.duplex = false});
  writer.send(1);
  EXPECT_EQ(reader.recv(), 1);
  EXPECT_THROW(reader.send(2), UsageError);
  EXPECT_THROW((void)writer.recv(), UsageError);
}

TEST_F(Pipe, TheEndOfFileComesAfterAllThatWasSent) {
  auto [mine, its] = pipe<int>();
  Process::start([end = its]() mutable {
    end.send(1);
    end.send(2);
  }).join();
  EXPECT_EQ(mine.recv(soon()), 1);
  EXPECT_EQ(mine.recv(soon()), 2);
  EXPECT_EQ(mine.recv(soon()), std::nullopt);
  EXPECT_FALSE(mine.is_open());
  EXPECT_FALSE(mine.poll(soon()));
}

TEST_F(Pipe, AClosedEndIsTheEndOfFileForTheOther) {
  auto [left, right] = pipe<int>();
  left.send(1);
  left.close();
  EXPECT_EQ(right.recv(soon()), 1);
  EXPECT_EQ(right.recv(soon()), std::nullopt);
  EXPECT_FALSE(right.is_open());
  EXPECT_THROW(right.send(2), ClosedError);
}

TEST_F(Pipe, ADestroyedEndIsTheEndOfFileForTheOther) {
  auto [left, right] = pipe<int>();
  right.send(1);
  std::optional<Connection<int>> copy(right);
  right = left;
  copy.reset();
  EXPECT_EQ(left.recv(soon()), 1);
  EXPECT_EQ(left.recv(soon()), std::nullopt);
}

TEST_F(Pipe, APeerKilledWhileItIsWaitedForIsTheEndOfFile) {
  auto [mine, its] = pipe<int>();
  Process child = Process::start([end = its]() mutable {
    end.send(1);
    ::pause();
  });
  EXPECT_EQ(mine.recv(soon()), 1);
  std::thread killer([&] {
    std::this_thread::sleep_for(20ms);
    child.kill();
  });
  EXPECT_EQ(mine.recv(soon()), std::nullopt);
  EXPECT_FALSE(mine.is_open());
  killer.join();
  (void)child.wait(soon());
  EXPECT_THROW(mine.send(2), ClosedError);
}

TEST_F(Pipe, APeerThatDiesBeforeItsFirstUseIsTheEndOfFile) {
  auto [mine, its] = pipe<int>();
  Process child = Process::start([] { ::raise(SIGKILL); });
  EXPECT_EQ(mine.recv(soon()), std::nullopt);
  EXPECT_FALSE(mine.is_open());
  (void)child.wait(soon());
}

TEST_F(Pipe, APeerThatIsLateIsWaitedFor) {
  auto [mine, its] = pipe<int>();
  Process child = Process::start([end = its]() mutable {
    std::this_thread::sleep_for(200ms);
    end.send(1);
  });
  EXPECT_EQ(mine.recv(soon()), 1);
  EXPECT_TRUE(child.join(soon()));
}

TEST_F(Pipe, ASenderToAFullPipeLearnsOfThePeersDeath) {
  auto [mine, its] = pipe<int>({.bytes = 256});
  Process child = Process::start([end = its]() mutable {
    (void)end.recv(soon());
    ::raise(SIGKILL);
  });
  auto send_until_full = [&, end = mine]() mutable {
    for (int i = 0; i < 1000; ++i) end.send(i, soon());
  };
  EXPECT_THROW(send_until_full(), ClosedError);
  (void)child.wait(soon());
}

TEST_F(Pipe, AnEndBelongsToTheProcessThatUsedItFirst) {
  auto [mine, its] = pipe<int>();
  Process child = Process::start([end = its]() mutable {
    end.send(1);
    ::pause();
  });
  EXPECT_EQ(mine.recv(soon()), 1);
  EXPECT_THROW(its.send(2), UsageError);
  child.kill();
  (void)child.wait(soon());
}

}  // namespace
}  // namespace hogpen
