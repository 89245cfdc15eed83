#include "runtime/work/named_task.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <set>
#include <string>

#include "runtime/channel/tensor_codec.h"
#include "runtime/sync/event.h"
#include "runtime/work/pool.h"
#include "tests/expect_throw.h"
#include "tests/footprint.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

double half(double value) {
  return value / 2;
}
HOGPEN_TASK(half);

const NamedTask<double(double)> kSquare("square");

TEST(NamedTask, IsFoundInTheSameProgramToo) {
  for (const WorkersAs workers_as : {WorkersAs::processes, WorkersAs::threads}) {
    Pool pool({.workers = 2, .workers_as = workers_as});
    EXPECT_EQ(pool.map(NamedTask<double(double)>("half"), std::vector{1, 2, 3}), (std::vector{0.5, 1.0, 1.5}));
    EXPECT_THROW(pool.apply(kSquare, 2), TaskError);
  }
}

TEST(NamedTask, WithTooLongANameIsAUsageError) {
  EXPECT_THROW(NamedTask<int()>(std::string(120, 'n')), UsageError);
  EXPECT_STREQ(NamedTask<int()>(std::string(119, 'n')).name(), std::string(119, 'n').c_str());
}

// Pools whose workers execute tests/work/task_program.cpp.
class ProgramPool : public LeavesNothing<> {
 protected:
  [[nodiscard]] static PoolOptions options() { return {.workers = 2, .program = {TASK_PROGRAM}}; }
};

TEST_F(ProgramPool, RunsTasksByTheirNames) {
  Pool pool(options());
  EXPECT_EQ(pool.apply(kSquare, 7), 49.0);
  EXPECT_EQ(pool.apply(NamedTask<std::string(std::string, int)>("repeat"), "ab", 3), "ababab");
  const std::vector<std::tuple<const char*, int>> texts = {{"x", 2}, {"yz", 1}};
  EXPECT_EQ(pool.starmap(NamedTask<std::string(const std::string&, int)>("repeat"), texts),
            (std::vector<std::string>{"xx", "yz"}));
  const std::vector items = {1, 2, 3};
  std::vector<double> streamed;
  for (const double result : pool.imap(kSquare, items)) streamed.push_back(result);
  EXPECT_EQ(streamed, (std::vector{1.0, 4.0, 9.0}));
}

TEST_F(ProgramPool, MapsMoreThanFitsIntoAJobsSlot) {
  Pool pool(options());
  std::vector<int> items(100'000);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = static_cast<int>(i);
  const std::vector<double> squares = pool.map(kSquare, items);
  ASSERT_EQ(squares.size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) ASSERT_EQ(squares[i], static_cast<double>(i) * static_cast<double>(i));
}

TEST_F(ProgramPool, SharesTensorsWithoutACopy) {
  Pool pool(options());
  // The first send moves it to shared memory, where both see it.
  at::Tensor tensor = at::zeros({1000});
  for (int i = 0; i < 3; ++i) pool.apply(NamedTask<void(at::Tensor)>("add_one"), tensor);
  EXPECT_TRUE(at::equal(tensor, at::full({1000}, 3.0)));
}

TEST_F(ProgramPool, WorkersStayWithinTheThreadBudget) {
  PoolOptions two = options();
  two.threads_per_worker = 1;
  Pool pool(two);
  EXPECT_EQ(pool.apply(NamedTask<int()>("thread_budget")), 1);
}

TEST_F(ProgramPool, ExceptionsComeBackWithTypeTextAndIndex) {
  Pool pool(options());
  try {
    (void)pool.map(NamedTask<int(int)>("fail_at"), std::vector{0, 1, 2, 3}, {.chunk_size = 2});
    FAIL() << "no exception";
  } catch (const TaskError& error) {
    const std::string text = error.what();
    for (const char* part : {"out_of_range", "no place 3", "task 3"}) {
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
}

TEST_F(ProgramPool, ATaskThatTheProgramDoesNotHaveIsNamed) {
  Pool pool(options());
  const std::string unknown = message_of([&] { pool.apply(NamedTask<int(int)>("cube"), 1); });
  EXPECT_NE(unknown.find("HOGPEN_TASK(cube)"), std::string::npos) << unknown;
  const std::string other_types = message_of([&] { pool.apply(NamedTask<int(int)>("square"), 1); });
  EXPECT_NE(other_types.find("the task square must have the types"), std::string::npos) << other_types;
  EXPECT_EQ(pool.apply(kSquare, 3), 9.0);
}

TEST_F(ProgramPool, TakesNoFunctionOfThisProgram) {
  Pool pool(options());
  EXPECT_THROW(pool.apply(half, 1.0), UsageError);
  EXPECT_THROW(pool.apply([] { return 1; }), UsageError);
}

TEST_F(ProgramPool, AKilledWorkerIsReplacedAndItsTaskRunAgainOrTheSignalNamed) {
  Pool pool(options());
  const std::string killed = message_of([&] { pool.apply(NamedTask<int(int)>("crash"), SIGKILL); });
  EXPECT_NE(killed.find("SIGKILL"), std::string::npos) << killed;
  for (int round = 0; round < 5; ++round) {
    for (const int pid : pool.worker_pids()) {
      if (pid > 0) ::kill(pid, SIGKILL);
    }
    EXPECT_EQ(pool.map(kSquare, std::vector{1, 2, 3, 4}), (std::vector{1.0, 4.0, 9.0, 16.0}));
  }
}

TEST_F(ProgramPool, ASpentWorkerIsReplaced) {
  PoolOptions spent = options();
  spent.workers = 1;
  spent.max_tasks_per_worker = 1;
  Pool pool(spent);
  const std::vector<int> pids = pool.map(NamedTask<int(int)>("process_id"), std::vector{0, 1, 2}, {.chunk_size = 1});
  EXPECT_EQ(std::set<int>(pids.begin(), pids.end()).size(), 3);
  pool.close();
  EXPECT_TRUE(pool.join(Deadline::after(60s)));
}

TEST_F(ProgramPool, AProgramThatCannotBeExecutedBreaksThePoolAndIsNamed) {
  Pool absent({.workers = 2, .program = {"/nowhere/program"}});
  const std::string message = message_of([&] { absent.apply(kSquare, 1); });
  EXPECT_NE(message.find("exec of /nowhere/program: No such file or directory"), std::string::npos) << message;
  Pool other({.workers = 2, .program = {"false"}});
  const std::string refused = message_of([&] { other.apply(kSquare, 1); });
  EXPECT_NE(refused.find("the program of a pool worker failed"), std::string::npos) << refused;
}

TEST_F(ProgramPool, OptionsThatMakeNoSenseAreUsageErrors) {
  EXPECT_THROW(Pool({.workers_as = WorkersAs::threads, .program = {TASK_PROGRAM}}), UsageError);
  EXPECT_THROW(Pool({.program = {TASK_PROGRAM}, .initializer = [] {}}), UsageError);
}

TEST(TaskProgram, WithoutAPoolSaysWhoMustStartIt) {
  EXPECT_NE(std::system(TASK_PROGRAM " 2> /dev/null"), 0);
}

}  // namespace
}  // namespace hogpen
