#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>

/// What IN and OUT of `hogpen map` must be.
namespace hogpen {

/// Throws: UsageError unless it is a regular file, which can be mapped into memory.
void check_input(const std::string& path);

/// `>> log` makes /dev/stdout the log, which the numbers shall not replace.
///
/// Throws: UsageError for the file of a standard stream.
void check_output(const std::filesystem::path& path);

/// To be called before OUT is replaced: if somebody wrote to IN meanwhile, OUT would be a mixture of two contents, or
/// in place undo what they wrote. `before` is IN's status when it was opened.
///
/// Throws: Error.
void check_unchanged(const std::string& path, const struct ::stat& before);

}  // namespace hogpen
