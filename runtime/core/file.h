#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace hogpen {

/// The few file operations that durable writing is made of. The real one calls the kernel; a test's fake forgets what
/// was not synced, because a kill test cannot see a missing fsync.
///
/// Throws: SystemError naming the path, from every member.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  /// Creates (or truncates) a file, writes the pieces in order and syncs it.
  virtual void write_and_sync(const std::filesystem::path& path,
                              std::span<const std::span<const std::byte>> pieces) = 0;
  /// Does nothing when it is there already.
  virtual void create_directory(const std::filesystem::path& path) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Makes renames and new names in a directory durable.
  virtual void sync_directory(const std::filesystem::path& path) = 0;
  /// Does nothing when there is no such path.
  virtual void remove_all(const std::filesystem::path& path) = 0;

  [[nodiscard]] static FileSystem& real();
};

/// What to do when a call on a file failed with this errno; empty where there is no more to say.
[[nodiscard]] std::string remedy_for(int error_number);

/// Replaces `path` by `content`, or leaves it as it was: temporary name, fsync, rename, fsync of the directory. A
/// leftover temporary of a killed process ends in ".tmp".
void write_atomically(FileSystem& files, const std::filesystem::path& path, std::string_view content);

/// Throws SystemError(EFBIG) when RLIMIT_FSIZE forbids a file, or a memfd, of that size: writing it would end the
/// process by SIGXFSZ. `what` is for the error.
void check_file_size_limit(std::string_view what, std::uint64_t size_bytes);

/// The whole file. Throws: SystemError naming the path.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace hogpen
