#pragma once

namespace hogpen {

/// The commit this program was built from, "-dirty" behind it when files differed; "unknown" outside a git checkout.
extern const char* const kGitCommit;

}  // namespace hogpen
