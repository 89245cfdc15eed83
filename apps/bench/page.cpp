#include "apps/bench/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/bench/plot.h"

namespace hogpen {
namespace {

using nlohmann::ordered_json;

constexpr const char* kHead = R"(<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width"/>
<title>hogpen bench</title>
<style>
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #ddd; --box: #9bc4e2;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #cc79a7;
  --series-4: #b8860b; --series-5: #56b4e9; --series-6: #7a4fbf; --series-7: #666; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --faint: #3a3a3a; --box: #2d5f85;
  --series-0: #4aa3df; --series-1: #ff8c42; --series-2: #2fd0a0; --series-3: #e8a0c8;
  --series-4: #e6c229; --series-5: #8fd3ff; --series-6: #b79cf0; --series-7: #aaa; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; font-weight: normal; padding: 0.15rem 1rem 0.15rem 0;
  border-bottom: 1px solid var(--faint); }
thead th { font-weight: bold; }
td.number { text-align: right; }
svg { max-width: 45rem; width: 100%; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg path { stroke: var(--ink); fill: none; }
svg .axis path { stroke: var(--faint); }
svg .series path { stroke: var(--colour); }
svg .series .curve { stroke-width: 2; }
svg .series circle { fill: var(--colour); }
svg.spread { width: 10rem; height: 1rem; }
svg.spread rect { fill: var(--box); }
svg.spread .median { stroke-width: 2; }
.warning { color: var(--series-1); }
</style>
</head>
<body>
<h1>hogpen bench</h1>
)";

std::string paragraph(const char* kind, const std::string& text) {
  return fmt::format("<p class=\"{}\">{}</p>\n", kind, escaped(text));
}

// Nested objects as rows "machine cache_bytes L2".
std::string rows_of(const ordered_json& json, const std::string& prefix) {
  std::string rows;
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix.empty() ? key : prefix + " " + key;
    if (value.is_structured()) {
      rows += rows_of(value, name);
      continue;
    }
    const std::string text = value.is_string() ? value.get<std::string>() : value.is_null() ? "unknown" : value.dump();
    rows += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), escaped(text));
  }
  return rows;
}

std::string row_of(const Figure& figure) {
  const auto percent = percent_of_limit(figure);
  return fmt::format(
      "<tr><th>{}</th><td class=\"number\">{}</td><td>{}</td><td class=\"number\">± {:.1f} %</td>"
      "<td class=\"number\">{}</td><td>{}</td><td>{} to {}</td><td class=\"number\">{}</td></tr>\n",
      escaped(figure.name), readable(figure.median), escaped(figure.unit), figure.noise_percent,
      percent ? fmt::format("{:.1f} %", *percent) : "", plot_spread(figure), readable(figure.least),
      readable(figure.most), figure.samples);
}

// A plot for each group of the suite's figures, in their order.
std::string plots_of(const std::vector<Figure>& figures) {
  std::string html;
  std::vector<std::string> done;
  for (const Figure& figure : figures) {
    if (figure.size <= 0 || std::ranges::find(done, figure.group) != done.end()) continue;
    done.push_back(figure.group);
    std::vector<Figure> group;
    std::ranges::copy_if(figures, std::back_inserter(group),
                         [&](const Figure& other) { return other.size > 0 && other.group == figure.group; });
    html += fmt::format("<h3>{}</h3>\n", escaped(figure.group)) + plot_curves(group);
  }
  return html;
}

std::string section_of(const std::string& suite, const Report& report) {
  std::vector<Figure> figures;
  std::ranges::copy_if(report.figures, std::back_inserter(figures),
                       [&](const Figure& figure) { return figure.suite == suite; });
  std::string html = fmt::format("<h2>{}</h2>\n", escaped(suite));
  for (const Note& note : report.notes) {
    if (note.suite == suite) html += paragraph("note", note.text);
  }
  html += plots_of(figures);
  html +=
      "<table>\n<thead><tr><th>figure</th><th>median</th><th></th><th>noise</th><th>of limit</th>"
      "<th>from 0 to the most</th><th>least to most</th><th>samples</th></tr></thead>\n<tbody>\n";
  for (const Figure& figure : figures) html += row_of(figure);
  return html + "</tbody>\n</table>\n";
}

}  // namespace

std::string to_html(const Report& report) {
  std::string html = kHead;
  for (const std::string& warning : report.warnings) html += paragraph("warning", "Warning: " + warning);
  std::vector<std::string> done;
  for (const Figure& figure : report.figures) {
    if (std::ranges::find(done, figure.suite) != done.end()) continue;
    done.push_back(figure.suite);
    html += section_of(figure.suite, report);
  }
  html += "<h2>Where this was measured</h2>\n<table>\n" + rows_of(report.context, "") + "</table>\n";
  return html + "</body>\n</html>\n";
}

}  // namespace hogpen
