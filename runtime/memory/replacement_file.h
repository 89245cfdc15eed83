#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "runtime/core/fd.h"

namespace hogpen {

/// A file's next content, which takes the file's place all at once or never: it is written under a temporary name
/// beside it. Who dies before `commit` leaves the file as it was, and a temporary that ends in ".tmp".
///
/// The file keeps its mode and, where that is allowed, its owner and its group; without its group, that has no
/// permissions. Other hard links to it keep the old content. A
/// symbolic link stays one: what it leads to is replaced.
///
/// Sharing: one thread. Owns: the temporary file and its mapping; both go with it.
class ReplacementFile {
 public:
  /// `mode` is for a file that is not there yet; the umask is taken off.
  ///
  /// Throws: UsageError for a path that is there and is no regular file; SystemError naming the path, also for a file
  /// that this user may not write, and for a directory that they may not read: it could not be synced.
  explicit ReplacementFile(const std::filesystem::path& path, ::mode_t mode = 0666);
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;
  ~ReplacementFile();

  /// Gives it that size, and maps it. The space is allocated now, so that a full disk is an error here, and not a
  /// SIGBUS later. To be called once, and not with `append`.
  [[nodiscard]] std::span<std::byte> map(std::size_t size_bytes);
  /// Writes at its end.
  void append(std::string_view text);
  /// Makes the content durable, which may take long; then `commit` does not.
  void sync();
  /// Syncs, and puts it in the file's place. To be called once, as the last. After a failure the file is as it was,
  /// but for a last one, which says so.
  void commit();
  /// What it is called before.
  [[nodiscard]] const std::filesystem::path& temporary() const noexcept { return temporary_; }

 private:
  std::filesystem::path path_;  ///< that it will have
  std::filesystem::path temporary_;
  Fd fd_;
  Fd directory_;
  std::span<std::byte> mapping_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace hogpen
