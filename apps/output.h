#pragma once

#include <string_view>

namespace hogpen {

/// Makes a closed pipe an error of write(2) instead of a death, and opens /dev/null in place of a standard stream that
/// is closed: the next file opened, which may be a model's parameters, would become it.
void secure_standard_streams();

/// Writes results. A reader who has gone is no error. Throws: SystemError, for a full disk and the like.
void write_stdout(std::string_view text);

/// Writes talk, in one write(2) so that lines of several processes do not mix. Never throws: talk is not worth a run.
void write_stderr(std::string_view text) noexcept;

}  // namespace hogpen
