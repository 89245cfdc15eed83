#include "runtime/memory/replacement_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <random>
#include <string>
#include <system_error>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_on(std::string_view call, const fs::path& path, int error_number) {
  std::string hint = remedy_for(error_number);
  if (error_number == ENOENT) hint = "make the directory first";
  throw SystemError(fmt::format("{} {}", call, path.string()), error_number, std::move(hint));
}

// What is at a path, links followed; nothing where nothing is.
std::optional<struct ::stat> status_of(const fs::path& path) {
  struct ::stat status{};
  if (::stat(path.c_str(), &status) == 0) return status;
  if (errno != ENOENT) fail_on("stat", path, errno);
  if (::lstat(path.c_str(), &status) == 0) {
    throw UsageError(fmt::format("{} is a symbolic link that leads nowhere", path.string()),
                     "remove it, or name the file itself");
  }
  return std::nullopt;
}

void check_replaceable(const fs::path& path, const struct ::stat& status) {
  if (S_ISDIR(status.st_mode)) {
    throw UsageError(fmt::format("{} is a directory", path.string()), "name a file in it");
  }
  if (!S_ISREG(status.st_mode)) {
    throw UsageError(fmt::format("{} is no regular file, which could be replaced as a whole", path.string()),
                     "write a file, and send that on");
  }
  // The directory's permission would do, but a file that was protected shall stay so.
  if (::access(path.c_str(), W_OK) < 0) fail_on("write", path, errno);
}

// A name of its own for every writer, so that two of the same file do not meet.
fs::path temporary_beside(const fs::path& path) {
  constexpr std::size_t kLongestName = 255;  // NAME_MAX
  const std::string ending = fmt::format(".{:08x}.tmp", std::random_device()());
  const std::string name = path.filename().string();
  return path.parent_path() / (name.substr(0, kLongestName - ending.size()) + ending);
}

// Only root may give a file away; others go on as `sed -i` does. The permissions of a group that it does not get are
// not for the one that it has instead.
void keep_owner_and_mode(const Fd& fd, const fs::path& path, const struct ::stat& old) {
  constexpr ::uid_t kSameOwner = -1;
  constexpr ::gid_t kSameGroup = -1;
  const bool has_group = ::fchown(fd.get(), kSameOwner, old.st_gid) == 0;
  [[maybe_unused]] const int ignored = ::fchown(fd.get(), old.st_uid, kSameGroup);
  if (::fchmod(fd.get(), old.st_mode & (has_group ? 0777 : 0707)) < 0) fail_on("fchmod", path, errno);
}

void sync_to_disk(const Fd& fd, std::string_view call, const fs::path& path) {
  while (::fsync(fd.get()) < 0) {
    if (errno != EINTR) fail_on(call, path, errno);
  }
}

}  // namespace

ReplacementFile::ReplacementFile(const fs::path& path, ::mode_t mode) : path_(path) {
  const std::optional<struct ::stat> old = status_of(path);
  if (old) {
    check_replaceable(path, *old);
    path_ = fs::canonical(path);
  }
  do {
    temporary_ = temporary_beside(path_);
    const int fd = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : mode & 0777);
    if (fd < 0 && errno != EEXIST && errno != EINTR) fail_on("open", temporary_, errno);
    fd_ = Fd(fd);
  } while (!fd_);
  try {
    // Now, and not after the rename: an error shall mean that the file is as it was.
    const fs::path directory = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    directory_ = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory_) fail_on("open, to sync it,", directory, errno);
    if (old) keep_owner_and_mode(fd_, temporary_, *old);
  } catch (...) {
    ::unlink(temporary_.c_str());
    throw;
  }
}

ReplacementFile::~ReplacementFile() {
  if (!mapping_.empty()) ::munmap(mapping_.data(), mapping_.size());
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

std::span<std::byte> ReplacementFile::map(std::size_t size_bytes) {
  check_file_size_limit(temporary_.string(), size_bytes);
  if (size_bytes == 0) return {};
  const int error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size_bytes));
  if (error != 0) fail_on(fmt::format("posix_fallocate of {} bytes for", size_bytes), temporary_, error);
  void* address = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (address == MAP_FAILED) fail_on("mmap", temporary_, errno);
  mapping_ = {static_cast<std::byte*>(address), size_bytes};
  return mapping_;
}

void ReplacementFile::append(std::string_view text) {
  check_file_size_limit(temporary_.string(), size_bytes_ + text.size());
  while (!text.empty()) {
    const ::ssize_t written = ::write(fd_.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_on("write", temporary_, errno);
    text.remove_prefix(static_cast<std::size_t>(written));
    size_bytes_ += static_cast<std::uint64_t>(written);
  }
}

void ReplacementFile::sync() {
  sync_to_disk(fd_, "fsync", temporary_);
}

void ReplacementFile::commit() {
  sync();
  FileSystem::real().rename(temporary_, path_);
  temporary_.clear();
  sync_to_disk(directory_, "the new content is there, but may not outlive a power cut: fsync of the directory of",
               path_);
}

}  // namespace hogpen
