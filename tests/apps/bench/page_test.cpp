#include "apps/bench/page.h"

#include <gtest/gtest.h>

#include "apps/bench/plot.h"

namespace hogpen {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

Figure point(const char* series, std::int64_t size, double median) {
  Figure figure;
  static_cast<Statistics&>(figure) = statistics_of({median});
  figure.suite = "elementwise";
  figure.name = std::string("exp & <co>, ") + series;
  figure.unit = "GB/s";
  figure.series = series;
  figure.size = size;
  figure.group = "exp";
  return figure;
}

TEST(PlotCurves, HasACurveForEachSeriesAndAPointForEachFigure) {
  const std::string svg = plot_curves({point("scalar", 16, 1), point("threads", 16, 2), point("scalar", 4096, 4)});
  EXPECT_EQ(count(svg, "<circle "), 3u);
  EXPECT_EQ(count(svg, "<g class=\"series\""), 2u);
  EXPECT_EQ(count(svg, ">scalar</text>"), 1u);
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
}

TEST(PlotCurves, SaysWhatItsSizesAre) {
  Figure figure = point("scalar", 16, 1);
  EXPECT_EQ(count(plot_curves({figure}), ">elements</text>"), 1u);
  figure.size_is = "batch size";
  const std::string svg = plot_curves({figure});
  EXPECT_EQ(count(svg, ">batch size</text>"), 1u) << svg;
  EXPECT_EQ(count(svg, ">elements</text>"), 0u) << svg;
}

// 16 lies log10(1.6)/3 of the way from 10 to 10000, which are 80 and 500 on the page.
TEST(PlotCurves, PutsSizesOnALogarithmicAxis) {
  const std::string svg = plot_curves({point("scalar", 16, 1), point("scalar", 4096, 1)});
  EXPECT_EQ(count(svg, "cx=\"108.6\""), 1u) << svg;
  EXPECT_EQ(count(svg, "cx=\"445.7\""), 1u) << svg;
}

TEST(PlotCurves, OnePointOfNothingIsStillAPlot) {
  const std::string svg = plot_curves({point("scalar", 1, 0)});
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
}

TEST(Page, HoldsFiguresNotesWarningsAndContextWithTheirMarksEscaped) {
  const std::string html = to_html({.context = {{"machine", {{"cpu", "A&B"}}}},
                                    .figures = {point("scalar", 16, 1)},
                                    .notes = {{"elementwise", "threads pay if n > 1000"}},
                                    .warnings = {"hot"}});
  EXPECT_EQ(count(html, "exp &amp; &lt;co&gt;, scalar"), 2u) << html;  // in the plot and in the table
  EXPECT_EQ(count(html, "threads pay if n &gt; 1000"), 1u);
  EXPECT_EQ(count(html, "Warning: hot"), 1u);
  EXPECT_EQ(count(html, "<th>machine cpu</th><td>A&amp;B</td>"), 1u);
  EXPECT_EQ(count(html, "<script"), 0u);
}

}  // namespace
}  // namespace hogpen
