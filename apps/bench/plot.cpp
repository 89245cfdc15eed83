#include "apps/bench/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/bench/report.h"

namespace hogpen {
namespace {

constexpr double kWidth = 720;
constexpr double kHeight = 360;
constexpr double kLeft = 80;
constexpr double kRight = 500;  // the names of the series stand to the right of it
constexpr double kTop = 34;
constexpr double kBottom = 310;
constexpr std::size_t kColours = 8;  // --series-0 and so on of the page

/// Where a value is drawn.
struct Axis {
  double low = 0;  ///< the value at `begin`
  double high = 1;
  double begin = 0;
  double end = 1;
  bool is_logarithmic = false;

  [[nodiscard]] double at(double value) const {
    const auto place = [&](double of) { return is_logarithmic ? std::log10(of) : of; };
    if (is_logarithmic && value <= 0) return begin;
    // The interval of a noisy figure may reach beyond the axis, which the medians decide.
    const double inside = std::clamp(value, low, high);
    return begin + (end - begin) * (place(inside) - place(low)) / (place(high) - place(low));
  }

  [[nodiscard]] std::vector<double> ticks() const {
    std::vector<double> values;
    if (is_logarithmic) {
      const auto first = static_cast<int>(std::ceil(std::log10(low) - 1e-9));
      const auto last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
      for (int power = first; power <= last; ++power) values.push_back(std::pow(10, power));
    } else {
      const double rough = (high - low) / 5;
      const double power = std::pow(10, std::floor(std::log10(rough)));
      const double step = power * (rough < 1.5 * power ? 1 : rough < 3.5 * power ? 2 : rough < 7.5 * power ? 5 : 10);
      for (int i = 0; low + i * step <= high * (1 + 1e-9); ++i) values.push_back(low + i * step);
    }
    return values;
  }
};

// Whole decades, so that there are at least two ticks.
Axis logarithmic(double least, double most, double begin, double end) {
  const double low = std::pow(10, std::floor(std::log10(least)));
  const double high = std::pow(10, std::ceil(std::log10(most)));
  return {.low = low, .high = high > low ? high : 10 * low, .begin = begin, .end = end, .is_logarithmic = true};
}

Axis size_axis(const std::vector<Figure>& figures) {
  const auto [least, most] = std::ranges::minmax(figures, {}, &Figure::size);
  return logarithmic(static_cast<double>(least.size), static_cast<double>(most.size), kLeft, kRight);
}

// Throughput lies within a decade or two and starts at zero; times grow with the size.
Axis value_axis(const std::vector<Figure>& figures) {
  constexpr double kWide = 50;
  const double least = std::ranges::min(figures, {}, &Figure::median).median;
  const double most = std::ranges::max(figures, {}, &Figure::high).high;
  if (least > 0 && most > kWide * least) return logarithmic(least, most, kBottom, kTop);
  return {.low = 0, .high = most > 0 ? 1.05 * most : 1, .begin = kBottom, .end = kTop};
}

std::string text_at(double x, double y, const char* anchor, std::string_view text) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)", x, y, anchor, escaped(text));
}

std::string draw_axes(const Axis& x, const Axis& y, const FigureLabel& label) {
  std::string svg = R"(<g class="axis">)";
  for (const double tick : x.ticks()) {
    svg += fmt::format(R"(<path d="M{0:.1f} {1}V{2}"/>)", x.at(tick), kTop, kBottom);
    svg += text_at(x.at(tick), kBottom + 18, "middle", readable(tick));
  }
  for (const double tick : y.ticks()) {
    svg += fmt::format(R"(<path d="M{1} {0:.1f}H{2}"/>)", y.at(tick), kLeft, kRight);
    svg += text_at(kLeft - 8, y.at(tick) + 4, "end", readable(tick));
  }
  svg += text_at((kLeft + kRight) / 2, kBottom + 40, "middle", label.size_is);
  return svg + text_at(kLeft - 8, kTop - 18, "end", label.unit) + "</g>\n";
}

std::string draw_point(const Figure& figure, const Axis& x, const Axis& y) {
  const double at = x.at(static_cast<double>(figure.size));
  return fmt::format(
      R"(<g><title>{}: {} {} ± {:.1f} %</title><path d="M{:.1f} {:.1f}V{:.1f}"/><circle cx="{:.1f}" cy="{:.1f}" r="3"/></g>)",
      escaped(figure.name), readable(figure.median), escaped(figure.unit), figure.noise_percent, at, y.at(figure.low),
      y.at(figure.high), at, y.at(figure.median));
}

std::string draw_series(std::vector<Figure> points, std::size_t index, const Axis& x, const Axis& y) {
  std::ranges::sort(points, {}, &Figure::size);
  std::string line;
  std::string marks;
  for (const Figure& point : points) {
    line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? "M" : "L", x.at(static_cast<double>(point.size)),
                        y.at(point.median));
    marks += draw_point(point, x, y);
  }
  const double row = kTop + 14 + 20 * static_cast<double>(index);
  std::string svg = fmt::format(R"svg(<g class="series" style="--colour: var(--series-{})">)svg", index % kColours);
  svg += fmt::format(R"(<path class="curve" d="{}"/>{})", line, marks);
  svg += fmt::format(R"(<path class="curve" d="M{} {}h16"/>)", kRight + 16, row - 4);
  return svg + text_at(kRight + 38, row, "start", points.front().series) + "</g>\n";
}

}  // namespace

std::string plot_curves(const std::vector<Figure>& figures) {
  const Axis x = size_axis(figures);
  const Axis y = value_axis(figures);
  std::vector<std::string> names;
  std::string series;
  for (const Figure& figure : figures) {
    if (std::ranges::find(names, figure.series) != names.end()) continue;
    std::vector<Figure> points;
    std::ranges::copy_if(figures, std::back_inserter(points),
                         [&](const Figure& other) { return other.series == figure.series; });
    series += draw_series(std::move(points), names.size(), x, y);
    names.push_back(figure.series);
  }
  const double height = std::max(kHeight, kTop + 20 + 20 * static_cast<double>(names.size()));
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\">\n{}{}</svg>\n",
                     kWidth, height, draw_axes(x, y, figures.front()), series);
}

std::string plot_spread(const Figure& figure) {
  const Axis x = {.low = 0, .high = figure.most > 0 ? figure.most : 1, .begin = 1, .end = 159};
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="spread" viewBox="0 0 160 16"><path d="M{:.1f} 8H{:.1f}"/>)"
      R"(<rect x="{:.1f}" y="3" width="{:.1f}" height="10"/><path class="median" d="M{:.1f} 1V15"/></svg>)",
      x.at(figure.least), x.at(figure.most), x.at(figure.lower_quartile),
      x.at(figure.upper_quartile) - x.at(figure.lower_quartile), x.at(figure.median));
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace hogpen
