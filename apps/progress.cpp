#include "apps/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "apps/text.h"
#include "models/trainer.h"

namespace hogpen {
namespace {

constexpr std::string_view kGreen = "\x1b[32m";

std::string paint(const Terminal& terminal, std::string_view colour, const std::string& text) {
  return terminal.colours ? fmt::format("{}{}{}", colour, text, kResetColour) : text;
}

// The NaN of x86 has a minus sign, which says nothing; a cross-entropy has none.
double unsigned_loss(double loss) {
  return std::abs(loss);
}

std::string epoch_of(double epoch, std::int64_t epochs) {
  const double tenths = std::round(10.0 * epoch);  // An evaluation begins a few batches after its epoch's end.
  return fmt::format("epoch {:.{}f}/{}", tenths / 10.0, std::fmod(tenths, 10.0) == 0.0 ? 0 : 1, epochs);
}

}  // namespace

ProgressView::ProgressView(Options options)
    : epochs_(options.epochs), line_(std::move(options.line)), began_(Clock::now()) {}

void ProgressView::update(const TrainProgress& progress) {
  if (!first_step_) {
    first_step_ = progress.step;
    began_ = Clock::now();
  }
  samples_per_second_ = progress.samples_per_second;
  if (line_.is_due()) line_.show(describe(progress));
}

void ProgressView::add(const Evaluation& evaluation) {
  const std::string accuracy = fmt::format("accuracy {:.2f} %", 100.0 * evaluation.accuracy);
  const std::string rate =
      samples_per_second_ > 0 ? fmt::format("  {} samples/s", abbreviate(samples_per_second_)) : "";
  line_.add(fmt::format("{}  loss {:.4f}  {}{}", epoch_of(evaluation.epoch, epochs_), unsigned_loss(evaluation.loss),
                        paint(line_.terminal(), kGreen, accuracy), rate));
}

std::string ProgressView::describe(const TrainProgress& progress) const {
  const std::int64_t per_epoch = std::max<std::int64_t>(progress.batches_per_epoch, 1);
  const std::int64_t total = std::max<std::int64_t>(progress.total_steps, 1);
  const std::int64_t done = std::clamp<std::int64_t>(progress.step, 0, total);
  const std::int64_t epoch = std::min(done / per_epoch + 1, epochs_);
  const std::string workers = progress.workers_running == progress.workers
                                  ? fmt::format("{}", progress.workers)
                                  : fmt::format("{}/{}", progress.workers_running, progress.workers);
  return fmt::format("epoch {}/{}  {:2} %  {} samples/s  loss {:.4f}  lr {:.4g}{}  {} worker{}", epoch, epochs_,
                     100 * done / total, abbreviate(progress.samples_per_second), unsigned_loss(progress.loss),
                     progress.lr, time_left(progress), workers, progress.workers == 1 ? "" : "s");
}

std::string ProgressView::time_left(const TrainProgress& progress) const {
  const std::int64_t done = progress.step - first_step_.value_or(progress.step);
  if (done <= 0) return "";
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const std::int64_t left = std::max<std::int64_t>(progress.total_steps - progress.step, 0);
  return fmt::format("  ETA {}", clock_time(seconds * static_cast<double>(left) / static_cast<double>(done)));
}

}  // namespace hogpen
