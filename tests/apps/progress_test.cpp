#include "apps/progress.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "apps/text.h"
#include "models/trainer.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

const TrainProgress kProgress = {.step = 250,
                                 .total_steps = 1000,
                                 .batches_per_epoch = 100,
                                 .samples = 16'000,
                                 .samples_per_second = 102'400.0,
                                 .loss = 0.41234,
                                 .lr = 0.05,
                                 .workers = 4,
                                 .workers_running = 4};

/// A view that writes into a string, on a terminal that the test describes.
struct Screen {
  explicit Screen(Terminal shape, std::chrono::milliseconds plain_period = 10s)
      : terminal(shape),
        view({.epochs = 10,
              .line = {.terminal = [this] { return terminal; },
                       .write = [this](std::string_view text) { written += text; },
                       .plain_period = plain_period}}) {}

  std::string take() { return std::exchange(written, {}); }

  Terminal terminal;
  std::string written;
  ProgressView view;
};

TEST(Abbreviate, KeepsThreeDigits) {
  EXPECT_EQ(abbreviate(0), "0");
  EXPECT_EQ(abbreviate(950.4), "950");
  EXPECT_EQ(abbreviate(999.6), "1.00 k");
  EXPECT_EQ(abbreviate(9'994), "9.99 k");
  EXPECT_EQ(abbreviate(9'996), "10.0 k");
  EXPECT_EQ(abbreviate(102'400), "102 k");
  EXPECT_EQ(abbreviate(1'234'567), "1.23 M");
  EXPECT_EQ(abbreviate(5e12), "5000 G");
}

TEST(ProgressView, RewritesItsLineOnATerminal) {
  Screen screen({.columns = 120, .colours = false});

  screen.view.update(kProgress);
  const std::string line = "epoch 3/10  25 %  102 k samples/s  loss 0.4123  lr 0.05  4 workers";
  EXPECT_EQ(screen.take(), "\r\x1b[K" + line + "\r");

  screen.view.add({.step = 300, .epoch = 3.0, .loss = 0.4, .accuracy = 0.8531});
  EXPECT_EQ(screen.take(), "\r\x1b[Kepoch 3/10  loss 0.4000  accuracy 85.31 %  102 k samples/s\n");
}

TEST(ProgressView, CutsItsLineToTheWidthOfTheMoment) {
  Screen screen({.columns = 20, .colours = false});
  screen.view.update(kProgress);
  EXPECT_EQ(screen.take(), "\r\x1b[Kepoch 3/10  25 %  1\r");

  screen.terminal.columns = 5;
  screen.view.update(kProgress);
  EXPECT_EQ(screen.take(), "\r\x1b[Kepoc\r");
}

TEST(ProgressView, ColoursDoNotCountAsWidth) {
  Screen screen({.columns = 20, .colours = true});
  screen.view.update(kProgress);
  EXPECT_EQ(screen.take(), "\r\x1b[K\x1b[1mepoch 3/10\x1b[0m  25 %  1\r");
}

TEST(ProgressView, RemovesItsLineAtTheEnd) {
  std::string after;
  {
    Screen screen({.columns = 80, .colours = false});
    screen.view.update(kProgress);
    screen.take();
    screen.view.clear();
    after = screen.take();
    screen.view.clear();
    EXPECT_EQ(screen.take(), "") << "there is no line left to remove";
  }
  EXPECT_EQ(after, "\r\x1b[K");
}

TEST(ProgressView, WritesPlainLinesOnceAPeriod) {
  Screen hourly(Terminal{}, 1h);
  hourly.view.update(kProgress);
  hourly.view.update(kProgress);
  EXPECT_EQ(hourly.take(), "");

  Screen always(Terminal{}, 0ms);
  always.view.update(kProgress);
  EXPECT_EQ(always.take(), "epoch 3/10  25 %  102 k samples/s  loss 0.4123  lr 0.05  4 workers\n");
}

TEST(ProgressView, TellsTheTimeLeftOnceThereIsASpeed) {
  Screen screen(Terminal{}, 0ms);
  TrainProgress progress = kProgress;
  screen.view.update(progress);
  EXPECT_EQ(screen.take().find("ETA"), std::string::npos);

  std::this_thread::sleep_for(20ms);
  progress.step = 999;
  screen.view.update(progress);
  EXPECT_NE(screen.take().find("  ETA 0:01  "), std::string::npos);

  progress.step = 1000;
  screen.view.update(progress);
  EXPECT_NE(screen.take().find("epoch 10/10  100 %"), std::string::npos) << "there is no epoch 11";
}

TEST(ProgressView, CountsTheWorkersThatRun) {
  Screen screen(Terminal{}, 0ms);
  TrainProgress progress = kProgress;
  progress.workers_running = 3;
  screen.view.update(progress);
  EXPECT_NE(screen.take().find("  3/4 workers\n"), std::string::npos);
}

TEST(ProgressView, AnEvaluationWithinAnEpochShowsAFraction) {
  Screen screen(Terminal{});
  screen.view.add({.step = 247, .epoch = 2.47, .loss = 1.0, .accuracy = 0.5});
  EXPECT_EQ(screen.take(), "epoch 2.5/10  loss 1.0000  accuracy 50.00 %\n");
}

}  // namespace
}  // namespace hogpen
