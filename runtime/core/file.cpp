#include "runtime/core/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view call, const fs::path& path, int error_number) {
  throw SystemError(fmt::format("{} {}", call, path.string()), error_number, remedy_for(error_number));
}

void check(int result, std::string_view call, const fs::path& path) {
  if (result < 0) fail(call, path, errno);
}

Fd open_file(const fs::path& path, int flags) {
  constexpr mode_t kMode = 0666;  // less the umask, as every program's files
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, kMode);
  } while (fd < 0 && errno == EINTR);
  check(fd, "open", path);
  return Fd(fd);
}

void sync(const Fd& fd, const fs::path& path) {
  while (::fsync(fd.get()) < 0) {
    if (errno != EINTR) fail("fsync", path, errno);
  }
}

// What is left of the pieces once `written` more bytes of them are done.
void advance(std::vector<::iovec>& pieces, std::size_t& first, std::size_t written) {
  while (first < pieces.size() && written >= pieces[first].iov_len) written -= pieces[first++].iov_len;
  if (first == pieces.size()) return;
  pieces[first].iov_base = static_cast<char*>(pieces[first].iov_base) + written;
  pieces[first].iov_len -= written;
}

void write_all(const Fd& fd, std::span<const std::span<const std::byte>> pieces, const fs::path& path) {
  constexpr std::size_t kMaxPieces = 1024;  // IOV_MAX of Linux
  std::vector<::iovec> left;
  for (const auto& piece : pieces) left.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
  std::size_t first = 0;
  advance(left, first, 0);
  while (first < left.size()) {
    const auto count = static_cast<int>(std::min(left.size() - first, kMaxPieces));
    const ssize_t written = ::writev(fd.get(), left.data() + first, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path, errno);
    advance(left, first, static_cast<std::size_t>(written));
  }
}

class RealFileSystem final : public FileSystem {
 public:
  void write_and_sync(const fs::path& path, std::span<const std::span<const std::byte>> pieces) override {
    std::uint64_t size = 0;
    for (const auto& piece : pieces) size += piece.size();
    check_file_size_limit(path.string(), size);
    Fd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    write_all(fd, pieces, path);
    sync(fd, path);
    // A network file system may report a failed write as late as here.
    if (::close(fd.release()) < 0 && errno != EINTR) fail("close", path, errno);
  }

  void create_directory(const fs::path& path) override {
    constexpr mode_t kMode = 0777;  // less the umask
    if (::mkdir(path.c_str(), kMode) == 0) return;
    const int error = errno;
    std::error_code ignored;
    if (error != EEXIST || !fs::is_directory(path, ignored)) fail("mkdir", path, error);
  }

  void rename(const fs::path& from, const fs::path& to) override {
    check(::rename(from.c_str(), to.c_str()), "rename", fs::path(fmt::format("{} to {}", from.string(), to.string())));
  }

  void sync_directory(const fs::path& path) override { sync(open_file(path, O_RDONLY | O_DIRECTORY), path); }

  void remove_all(const fs::path& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail("remove", path, error.value());
  }
};

}  // namespace

std::string remedy_for(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "free space on that file system, or choose another one";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a place where this user may write";
    default:
      return {};
  }
}

FileSystem& FileSystem::real() {
  static RealFileSystem files;
  return files;
}

void write_atomically(FileSystem& files, const fs::path& path, std::string_view content) {
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  fs::path temporary = path;
  temporary += ".tmp";
  const std::span<const std::byte> piece = std::as_bytes(std::span(content));
  try {
    files.write_and_sync(temporary, {&piece, 1});
    files.rename(temporary, path);
  } catch (...) {
    try {
      files.remove_all(temporary);
    } catch (const Error&) {  // The first failure is the one to tell.
    }
    throw;
  }
  files.sync_directory(directory);
}

void check_file_size_limit(std::string_view what, std::uint64_t size_bytes) {
  struct ::rlimit limit{};
  syscall_ok(::getrlimit(RLIMIT_FSIZE, &limit), "getrlimit(RLIMIT_FSIZE)");
  if (limit.rlim_cur == RLIM_INFINITY || size_bytes <= limit.rlim_cur) return;
  throw SystemError(fmt::format("{}: {} bytes asked, {} allowed by RLIMIT_FSIZE", what, size_bytes, limit.rlim_cur),
                    EFBIG, "raise it with `ulimit -f`");
}

std::string read_file(const fs::path& path) {
  const Fd fd = open_file(path, O_RDONLY);
  struct ::stat status{};
  check(::fstat(fd.get(), &status), "fstat", path);
  std::string content;
  content.reserve(static_cast<std::size_t>(std::max<off_t>(status.st_size, 0)));
  // A file of /proc says size 0, and a file may grow: read until the end, not until the size.
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path, errno);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace hogpen
