#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "runtime/work/graph.h"
#include "tests/expect_throw.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

int one() {
  return 1;
}

int fail_at(int x) {
  if (x == 1) throw std::out_of_range("too large");
  return x;
}

double mean(int x) {
  return x;
}

double total(double x) {
  return x;
}

class GraphErrorOn : public testing::TestWithParam<int> {
 protected:
  Executor executor{{.place = GetParam() == 1 ? Place::caller : Place::threads, .threads = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(, GraphErrorOn, testing::Values(1, 2),
                         [](const auto& tested) { return "threads" + std::to_string(tested.param); });

TEST_P(GraphErrorOn, NamesTheTaskAndTheWayToIt) {
  const auto a = delayed(one, "one")();
  const auto b = delayed(fail_at, "sq")(a);
  const auto c = delayed(mean, "mean")(b);
  const auto d = delayed(total, "total")(c);
  try {
    (void)d.compute(executor);
    FAIL() << "nothing was thrown";
  } catch (const GraphError& error) {
    EXPECT_STREQ(error.what(), "task 'sq' (total <- mean <- sq) threw std::out_of_range: too large");
    EXPECT_EQ(error.task(), "sq");
    EXPECT_EQ(error.path(), "total <- mean <- sq");
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_THROW(error.rethrow_nested(), std::out_of_range);
  }
  expect_throw<GraphError>("task 'sq' threw std::out_of_range: too large", [&] { (void)b.compute(executor); });
}

TEST_P(GraphErrorOn, ATaskWithoutANameIsCalledByItsPlace) {
  const auto task = delayed(fail_at)(1);
  const int line = __LINE__ - 1;
  expect_throw<GraphError>(fmt::format("task 'graph_error_test.cpp:{}' threw", line),
                           [&] { (void)task.compute(executor); });
}

TEST_P(GraphErrorOn, ALongWayIsShortened) {
  auto task = delayed(fail_at, "first")(1);
  for (int i = 0; i < 1'000; ++i) task = delayed(fail_at, "t" + std::to_string(i))(task);
  expect_throw<GraphError>("(t999 <- t998 <- t997 <- t996 <- t995 <- … 991 more … <- t3 <- t2 <- t1 <- t0 <- first)",
                           [&] { (void)task.compute(executor); });
}

TEST_P(GraphErrorOn, WhatIsNoExceptionIsAFailureToo) {
  const auto task = delayed([]() -> int { throw 42; }, "odd")();
  expect_throw<GraphError>("task 'odd' threw int", [&] { (void)task.compute(executor); });
}

TEST_P(GraphErrorOn, NothingIsBegunAfterAFailureAndAllResultsAreDestroyed) {
  std::atomic<int> begun{0};
  const auto held = std::make_shared<int>(1);
  std::vector<Delayed<std::shared_ptr<int>>> all;
  all.push_back(delayed([](int x) -> std::shared_ptr<int> { throw std::runtime_error(std::to_string(x)); })(7));
  for (int i = 0; i < 1'000; ++i) {
    all.push_back(delayed([&begun, &held] {
      ++begun;
      std::this_thread::sleep_for(1ms);
      return held;
    })());
  }
  EXPECT_THROW((void)compute(executor, all), GraphError);
  EXPECT_LT(begun, 500);
  EXPECT_EQ(held.use_count(), 1);
  all.erase(all.begin());
  EXPECT_EQ(std::get<0>(compute(executor, all)).size(), 1'000u) << "the rest can be computed after that";
}

TEST_P(GraphErrorOn, TheFirstOfManyFailuresIsTold) {
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 2'000; ++i) all.push_back(delayed(fail_at, "f")(1));
  for (int round = 0; round < 20; ++round) EXPECT_THROW((void)compute(executor, all), GraphError);
}

TEST_P(GraphErrorOn, TellsTheProgressNowAndThenAndAtTheEnd) {
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 500; ++i) {
    all.push_back(delayed([] {
      std::this_thread::sleep_for(2ms);
      return 1;
    })());
  }
  std::vector<std::size_t> reports;
  const auto caller = std::this_thread::get_id();
  (void)compute(executor,
                ComputeOptions{.progress =
                                   [&](std::size_t done, std::size_t of) {
                                     EXPECT_EQ(of, 500u);
                                     EXPECT_EQ(std::this_thread::get_id(), caller);
                                     reports.push_back(done);
                                   }},
                all);
  ASSERT_GE(reports.size(), 2u);
  EXPECT_LE(reports.size(), 20u);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
  EXPECT_EQ(reports.back(), 500u);
}

TEST_P(GraphErrorOn, WhatTheProgressThrowsEndsTheComputation) {
  std::atomic<int> begun{0};
  std::vector<Delayed<int>> all;
  for (int i = 0; i < 3'000; ++i) {
    all.push_back(delayed([&begun] {
      std::this_thread::sleep_for(1ms);
      return ++begun;
    })());
  }
  const ComputeOptions options{.progress = [](std::size_t, std::size_t) { throw std::domain_error("enough"); }};
  EXPECT_THROW((void)compute(executor, options, all), std::domain_error);
  EXPECT_LT(begun, 2'500);
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return (std::ostringstream() << file.rdbuf()).str();
}

struct TemporaryFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() / fmt::format("graph-{}", ::getpid());
  ~TemporaryFile() { std::filesystem::remove(path); }
};

TEST_P(GraphErrorOn, TheTraceHasEachTaskOnceInARowForEachThread) {
  const TemporaryFile file;
  auto last = delayed(fail_at, "odd \"name\"\\\n\xff")(2);
  for (int i = 0; i < 100; ++i) last = delayed(fail_at, "step")(last);
  EXPECT_EQ(last.compute(executor, {.trace = file.path}), 2);
  const auto trace = nlohmann::json::parse(content_of(file.path));
  std::map<std::string, int> names;
  std::set<int> rows;
  std::vector<std::string> row_names;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "M") {
      row_names.push_back(event.at("args").at("name"));
      continue;
    }
    EXPECT_EQ(event.at("ph"), "X");
    EXPECT_GE(event.at("ts").get<double>(), 0);
    EXPECT_GE(event.at("dur").get<double>(), 0);
    ++names[event.at("name")];
    rows.insert(event.at("tid").get<int>());
  }
  EXPECT_EQ(names, (std::map<std::string, int>{{"odd \"name\"\\\n\xef\xbf\xbd", 1}, {"step", 100}}));
  EXPECT_EQ(row_names.size(), static_cast<std::size_t>(GetParam()));
  EXPECT_EQ(row_names[0], "calling thread");
  EXPECT_LE(rows.size(), row_names.size());
}

TEST_P(GraphErrorOn, AFailureLeavesATraceOfWhatWasRun) {
  const TemporaryFile file;
  const auto task = delayed(fail_at, "second")(delayed(one, "first")());
  EXPECT_THROW((void)task.compute(executor, {.trace = file.path}), GraphError);
  EXPECT_NE(content_of(file.path).find("first"), std::string::npos);
}

TEST(GraphFiles, ATraceThatCannotBeWrittenIsToldBeforeAnythingIsRun) {
  int runs = 0;
  const auto task = delayed([&runs] { return ++runs; })();
  EXPECT_THROW((void)task.compute({.trace = "/no/such/directory/trace.json"}), SystemError);
  EXPECT_EQ(runs, 0);
}

TEST(GraphFiles, TheDrawingHasEachTaskAndEachNeedOnce) {
  const TemporaryFile file;
  const auto a = delayed(one, "a \"quoted\" \\ name")();
  const auto b = delayed([](int x, int y) { return x + y; }, "b")(a, a);
  visualize(file.path, b, a);
  const std::string text = content_of(file.path);
  EXPECT_TRUE(text.starts_with("digraph")) << text;
  EXPECT_NE(text.find(R"(1 [label="a \"quoted\" \\ name"];)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(0 [label="b"];)"), std::string::npos) << text;
  const std::regex arrow("1 -> 0;");
  EXPECT_EQ(std::distance(std::sregex_iterator(text.begin(), text.end(), arrow), std::sregex_iterator()), 2);
  b.visualize(file.path);
  EXPECT_NE(content_of(file.path).find("-> 0"), std::string::npos);
}

TEST(GraphFiles, ALongChainIsDrawnWithoutRecursion) {
  const TemporaryFile file;
  auto last = delayed(one, "one")();
  for (int i = 0; i < 100'000; ++i) last = delayed(fail_at, "step")(last);
  last.visualize(file.path);
  const std::string text = content_of(file.path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '>'), 100'000);
  EXPECT_TRUE(text.ends_with("}\n"));
}

}  // namespace
}  // namespace hogpen
