#pragma once

#include <string>

#include "apps/bench/report.h"

namespace hogpen {

/// The report as one page of HTML that is well-formed XML too: no scripts, nothing from a network, light and dark.
[[nodiscard]] std::string to_html(const Report& report);

}  // namespace hogpen
