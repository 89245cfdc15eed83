#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hogpen {

/// One figure of a benchmark: the median of its samples, and the range they lay in.
struct Figure {
  std::string suite;
  std::string name;
  std::string unit;  ///< of the values below: "us", "ns", "ms", "1/s", …
  double median = 0;
  double least = 0;
  double most = 0;
  std::size_t samples = 0;
};

/// Takes samples and keeps the figures.
///
/// Sharing: one thread. Owns: its figures.
class Recorder {
 public:
  using Clock = std::chrono::steady_clock;
  /// `per_figure` is how long samples of one figure are taken, but at least `kLeastSamples` are. Each figure is told to
  /// `report` as soon as it is there.
  Recorder(std::chrono::nanoseconds per_figure, std::function<void(const Figure&)> report)
      : per_figure_(per_figure), report_(std::move(report)) {}

  void begin_suite(std::string_view name) { suite_ = name; }

  /// Calls `sample`, once to warm up and then again and again, and records the median of what it returns.
  void measure(std::string_view name, std::string_view unit, const std::function<double()>& sample);

  [[nodiscard]] const std::vector<Figure>& figures() const noexcept { return figures_; }

 private:
  static constexpr std::size_t kLeastSamples = 5;

  std::chrono::nanoseconds per_figure_;
  std::function<void(const Figure&)> report_;
  std::string suite_;
  std::vector<Figure> figures_;
};

/// The median; reorders the values. Requires: at least one.
[[nodiscard]] double median(std::vector<double>& values);

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
