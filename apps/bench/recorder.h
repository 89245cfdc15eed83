#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/bench/statistics.h"

namespace hogpen {

/// What a figure is of. Figures of one group have one unit and make one plot, with a curve for each series and `size`
/// on the x axis.
struct FigureLabel {
  std::string name;  ///< one of its kind in its suite
  std::string unit;  ///< of the values: "us", "ns", "ms", "1/s", "GB/s", … More is better where it ends in "/s"
  std::string series = {};
  std::int64_t size = 0;  ///< where it stands on the x axis; 0: a figure that stands alone
  std::string group = {};
  std::string size_is = "elements";  ///< what the x axis counts
};

/// One figure of a benchmark: the median of its samples, and how sure that is.
struct Figure : FigureLabel, Statistics {
  std::string suite = {};
  double limit = 0;  ///< the best that the machine allows, in the same unit; 0: not known
};

/// Whether more of a figure is better: a rate, not a time.
[[nodiscard]] bool is_rate(const FigureLabel& figure);

/// How near to its limit a figure comes; 100 is as good as the machine allows. Empty without a limit.
[[nodiscard]] std::optional<double> percent_of_limit(const Figure& figure);

/// A line that a suite wants to say about its figures.
struct Note {
  std::string suite;
  std::string text;
};

/// Takes samples and keeps the figures.
///
/// Sharing: one thread. Owns: its figures and notes.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    std::chrono::nanoseconds per_figure = std::chrono::seconds(1);  ///< the most, warm-up included
    double noise_percent = 2;                                       ///< enough samples once their noise is below this
    std::int64_t max_elements = std::int64_t{1} << 28;              ///< of the arrays that suites make
    std::function<bool(const std::string&)> is_wanted = {};         ///< asked with "suite/name"; empty: all are
    bool is_selective = false;                                      ///< somebody has chosen what is wanted by its name
    std::function<void(const Figure&)> on_figure = {};              ///< told of each figure as soon as it is there
    std::function<void(const Note&)> on_note = {};
    std::function<Clock::time_point()> now = Clock::now;
  };
  explicit Recorder(Options options) : options_(std::move(options)) {}

  void begin_suite(std::string_view name) { suite_ = name; }

  /// The longest arrays that a suite may make.
  [[nodiscard]] std::int64_t max_elements() const noexcept { return options_.max_elements; }

  /// The most time for a figure. A suite that chooses how long a sample takes lets six or more fit in.
  [[nodiscard]] std::chrono::nanoseconds per_figure() const noexcept { return options_.per_figure; }

  /// Figures were chosen by name: a suite may offer also those that would take too long for all who want everything.
  [[nodiscard]] bool is_selective() const noexcept { return options_.is_selective; }

  /// False for a figure that nobody asked for: what it needs need not be prepared.
  [[nodiscard]] bool wants(const std::string& name) const;

  /// Calls `sample` until what it returns has settled, and then again and again until the median is known well enough
  /// or the time is out; five times at least. Empty for a figure that is not wanted.
  ///
  /// With `limit`, which measures the best that the machine allows, one sample of it is taken after each: what a
  /// machine allows changes with what else it does.
  std::optional<Figure> measure(const FigureLabel& label, const std::function<double()>& sample,
                                const std::function<double()>& limit = {});
  std::optional<Figure> measure(std::string name, std::string unit, const std::function<double()>& sample) {
    return measure({.name = std::move(name), .unit = std::move(unit)}, sample);
  }

  void note(std::string text);

  [[nodiscard]] const std::vector<Figure>& figures() const noexcept { return figures_; }
  [[nodiscard]] const std::vector<Note>& notes() const noexcept { return notes_; }

 private:
  [[nodiscard]] Statistics take_samples(const std::function<double()>& sample, const std::function<double()>& limit,
                                        std::vector<double>& limits) const;
  void warm_up(const std::function<double()>& sample, Clock::time_point end) const;

  Options options_;
  std::string suite_;
  std::vector<Figure> figures_;
  std::vector<Note> notes_;
};

/// How long `body` takes, in seconds.
template <class Body>
double seconds_of(const Body& body) {
  const auto begin = Recorder::Clock::now();
  body();
  return std::chrono::duration<double>(Recorder::Clock::now() - begin).count();
}

/// The median duration of `count` calls of `body`, in microseconds.
template <class Body>
double median_microseconds(std::size_t count, const Body& body) {
  std::vector<double> durations(count);
  for (double& duration : durations) duration = 1e6 * seconds_of(body);
  return median(durations);
}

}  // namespace hogpen
