#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/bench/recorder.h"

namespace hogpen {

/// Figures of one group as an SVG element: size on a logarithmic x axis, a curve for each series, and the interval
/// around each median as a vertical line. Its colours are the page's CSS variables. Requires: at least one; sizes > 0.
[[nodiscard]] std::string plot_curves(const std::vector<Figure>& figures);

/// How the samples of a figure lie between zero and the most, as a small SVG element: a line from the least to the
/// most, a box from quartile to quartile, and the median.
[[nodiscard]] std::string plot_spread(const Figure& figure);

/// For text and attributes of XML and HTML.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace hogpen
