#pragma once

namespace hogpen {

/// Does not compile alone, which lint_lone_headers_catch expects: <string> is not included.
struct NeedsString {
  std::string text;
};

}  // namespace hogpen
