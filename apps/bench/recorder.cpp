#include "apps/bench/recorder.h"

#include <algorithm>

namespace hogpen {

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

void Recorder::measure(std::string_view name, std::string_view unit, const std::function<double()>& sample) {
  (void)sample();
  std::vector<double> samples;
  const auto end = Clock::now() + per_figure_;
  while (samples.size() < kLeastSamples || Clock::now() < end) samples.push_back(sample());
  const auto [least, most] = std::minmax_element(samples.begin(), samples.end());
  Figure figure{.suite = suite_,
                .name = std::string(name),
                .unit = std::string(unit),
                .median = 0,
                .least = *least,
                .most = *most,
                .samples = samples.size()};
  figure.median = median(samples);
  report_(figure);
  figures_.push_back(std::move(figure));
}

}  // namespace hogpen
