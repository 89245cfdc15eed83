#include "apps/map/checks.h"

#include <unistd.h>

#include <cerrno>

#include "runtime/core/error.h"

namespace hogpen {

void check_input(const std::string& path) {
  struct ::stat status{};
  const int result = ::stat(path.c_str(), &status);
  if (result < 0 && errno == ENOENT) {
    throw UsageError(fmt::format("there is no file {}", path),
                     path == "-" ? "standard input cannot be mapped: store it in a file first" : "");
  }
  syscall_ok(result, "stat " + path);
  if (!S_ISREG(status.st_mode)) {
    const bool is_directory = S_ISDIR(status.st_mode);
    throw UsageError(fmt::format("IN must be a regular file, which can be mapped into memory, but {} is {}", path,
                                 is_directory ? "a directory" : "a pipe or a device"),
                     is_directory ? "name a file in it" : "store what comes from there in a file first");
  }
  if (::access(path.c_str(), R_OK) < 0) {
    throw SystemError("read " + path, errno, "choose a file that this user may read");
  }
}

void check_output(const std::filesystem::path& path) {
  struct ::stat out{};
  if (::stat(path.c_str(), &out) < 0 || !S_ISREG(out.st_mode)) return;  // for ReplacementFile to judge
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct ::stat standard{};
    if (::fstat(stream, &standard) < 0 || standard.st_dev != out.st_dev || standard.st_ino != out.st_ino) continue;
    throw UsageError(
        fmt::format("{} is where a standard stream of this command leads, and would be replaced", path.string()),
        "name another file, or redirect elsewhere");
  }
}

void check_unchanged(const std::string& path, const struct ::stat& before) {
  struct ::stat now{};
  const bool is_same = ::stat(path.c_str(), &now) == 0 && now.st_dev == before.st_dev && now.st_ino == before.st_ino &&
                       now.st_size == before.st_size && now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                       now.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
  if (!is_same) throw Error(fmt::format("{} was changed meanwhile", path), "map it again when nobody writes to it");
}

}  // namespace hogpen
