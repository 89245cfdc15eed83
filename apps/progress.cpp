#include "apps/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "models/trainer.h"

namespace hogpen {
namespace {

constexpr int kUnknownColumns = 80;
constexpr std::string_view kEraseLine = "\r\x1b[K";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kReset = "\x1b[0m";

std::string paint(const Terminal& terminal, std::string_view colour, const std::string& text) {
  return terminal.colours ? fmt::format("{}{}{}", colour, text, kReset) : text;
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(seconds));
  const auto minutes = whole / 60 % 60;
  return whole < 3600 ? fmt::format("{}:{:02}", minutes, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, minutes, whole % 60);
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

Terminal Terminal::of_stderr() {
  const char* type = std::getenv("TERM");
  if (!::isatty(STDERR_FILENO) || !type || std::string_view(type) == "dumb") return {};
  winsize size{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const char* no_color = std::getenv("NO_COLOR");
  return {.columns = is_known ? size.ws_col : kUnknownColumns, .colours = !no_color || !*no_color};
}

std::string abbreviate(double number) {
  const char* unit = "";
  // From 999.5 on, three digits would round to 1000.
  for (const char* larger : {" k", " M", " G"}) {
    if (number < 999.5) break;
    number /= 1000.0;
    unit = larger;
  }
  const int decimals = *unit == '\0' || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", number, decimals, unit);
}

ProgressView::ProgressView(Options options) : options_(std::move(options)), began_(Clock::now()), last_line_(began_) {}

void ProgressView::update(const TrainProgress& progress) {
  if (!first_step_) {
    first_step_ = progress.step;
    began_ = Clock::now();
  }
  samples_per_second_ = progress.samples_per_second;
  const Terminal terminal = options_.terminal();
  const bool is_due = Clock::now() - last_line_ >= options_.plain_period;
  if (terminal.columns == 0 && !is_due) return;
  last_line_ = Clock::now();
  std::string line = describe(progress);
  if (terminal.columns == 0) return options_.write(line + "\n");
  // One column stays free: some terminals wrap at once when the last is taken.
  line.resize(std::min(line.size(), static_cast<std::size_t>(terminal.columns - 1)));
  const std::size_t head = std::min(line.find("  "), line.size());
  // The cursor waits at the line's beginning, so that a message of anybody's overwrites it.
  options_.write(fmt::format("{}{}{}\r", kEraseLine, paint(terminal, kBold, line.substr(0, head)), line.substr(head)));
  line_is_shown_ = true;
}

void ProgressView::add(const Evaluation& evaluation) {
  clear();
  const Terminal terminal = options_.terminal();
  const std::string accuracy = fmt::format("accuracy {:.2f} %", 100.0 * evaluation.accuracy);
  const std::string rate =
      samples_per_second_ > 0 ? fmt::format("  {} samples/s", abbreviate(samples_per_second_)) : "";
  options_.write(fmt::format("{}  loss {:.4f}  {}{}\n", epoch_of(evaluation.epoch, options_.epochs),
                             unsigned_loss(evaluation.loss), paint(terminal, kGreen, accuracy), rate));
  last_line_ = Clock::now();
}

void ProgressView::clear() {
  if (line_is_shown_) options_.write(kEraseLine);
  line_is_shown_ = false;
}

std::string ProgressView::describe(const TrainProgress& progress) const {
  const std::int64_t per_epoch = std::max<std::int64_t>(progress.batches_per_epoch, 1);
  const std::int64_t total = std::max<std::int64_t>(progress.total_steps, 1);
  const std::int64_t done = std::clamp<std::int64_t>(progress.step, 0, total);
  const std::int64_t epoch = std::min(done / per_epoch + 1, options_.epochs);
  const std::string workers = progress.workers_running == options_.workers
                                  ? fmt::format("{}", options_.workers)
                                  : fmt::format("{}/{}", progress.workers_running, options_.workers);
  return fmt::format("epoch {}/{}  {:2} %  {} samples/s  loss {:.4f}  lr {:.4g}{}  {} worker{}", epoch, options_.epochs,
                     100 * done / total, abbreviate(progress.samples_per_second), unsigned_loss(progress.loss),
                     progress.lr, time_left(progress), workers, options_.workers == 1 ? "" : "s");
}

std::string ProgressView::time_left(const TrainProgress& progress) const {
  const std::int64_t done = progress.step - first_step_.value_or(progress.step);
  if (done <= 0) return "";
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  const std::int64_t left = std::max<std::int64_t>(progress.total_steps - progress.step, 0);
  return fmt::format("  ETA {}", clock_time(seconds * static_cast<double>(left) / static_cast<double>(done)));
}

}  // namespace hogpen
