#pragma once

namespace hogpen {

/// How this hogpen was built.
struct Build {
  const char* version;
  const char* type;  ///< CMake's
  const char* compiler;
  const char* sanitizer;  ///< "address", "thread", or empty
  bool has_cuda;
};
extern const Build kBuild;

}  // namespace hogpen
