#include "apps/bench/recorder.h"

#include <algorithm>
#include <cmath>

namespace hogpen {

bool is_rate(const FigureLabel& figure) {
  return figure.unit.ends_with("/s");
}

std::optional<double> percent_of_limit(const Figure& figure) {
  if (figure.limit <= 0 || figure.median <= 0) return {};
  return 100 * (is_rate(figure) ? figure.median / figure.limit : figure.limit / figure.median);
}

bool Recorder::wants(const std::string& name) const {
  return !options_.is_wanted || options_.is_wanted(suite_ + "/" + name);
}

std::optional<Figure> Recorder::measure(const FigureLabel& label, const std::function<double()>& sample,
                                        const std::function<double()>& limit) {
  if (!wants(label.name)) return {};
  std::vector<double> limits;
  Figure figure{label, take_samples(sample, limit, limits), suite_};
  if (limit) figure.limit = median(limits);
  figures_.push_back(std::move(figure));
  if (options_.on_figure) options_.on_figure(figures_.back());
  return figures_.back();
}

void Recorder::note(std::string text) {
  notes_.push_back({suite_, std::move(text)});
  if (options_.on_note) options_.on_note(notes_.back());
}

// A first call pays for page faults, cold caches and a CPU that was asleep; the calls after it less and less.
void Recorder::warm_up(const std::function<double()>& sample, Clock::time_point end) const {
  constexpr double kSettled = 0.05;
  double before = sample();
  while (options_.now() < end) {
    const double next = sample();
    if (std::abs(next - before) <= kSettled * std::abs(before)) return;
    before = next;
  }
}

Statistics Recorder::take_samples(const std::function<double()>& sample, const std::function<double()>& limit,
                                  std::vector<double>& limits) const {
  constexpr std::size_t kLeastSamples = 5;
  constexpr std::size_t kMostSamples = 10'000;
  const auto begin = options_.now();
  warm_up(sample, begin + options_.per_figure / 4);
  std::vector<double> samples;
  // The noise is looked at now and then only: whoever looks after each sample stops too early by chance, and the look
  // itself takes caches away from what is measured. Five quick samples in a row would not see what lasts for longer.
  const auto earliest_end = begin + options_.per_figure / 10;
  for (std::size_t next_look = kLeastSamples; samples.size() < kMostSamples;) {
    samples.push_back(sample());
    if (limit) limits.push_back(limit());
    if (samples.size() < kLeastSamples) continue;
    const auto now = options_.now();
    if (now >= begin + options_.per_figure) break;
    if (samples.size() < next_look || now < earliest_end) continue;
    if (statistics_of(samples).noise_percent <= options_.noise_percent) break;
    next_look = samples.size() + std::max<std::size_t>(samples.size() / 4, 1);
  }
  return statistics_of(std::move(samples));
}

}  // namespace hogpen
