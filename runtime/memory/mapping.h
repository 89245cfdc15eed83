#pragma once

#include <sys/types.h>

#include <atomic>
#include <compare>
#include <cstddef>
#include <memory>

#include "runtime/core/fd.h"

namespace hogpen {

/// Which file a descriptor is of, the same in all processes as long as anybody has it open.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

/// A shared memfd mapped into this process. The process knows all it has, as /proc/self/maps does, so that a descriptor
/// that comes twice is mapped once, and that of a tensor's memory is found by its address.
///
/// Sharing: read-only, all threads. Owns: the descriptor and the mapping.
class Mapping {
 public:
  enum class Access { read_write, read_only };

  /// The mapping of that file with that access, which may be there already. Throws: SystemError when it cannot be
  /// mapped.
  [[nodiscard]] static std::shared_ptr<const Mapping> of(Fd fd, std::size_t size_bytes, Access access);
  /// The mapping in which an address lies, or null.
  [[nodiscard]] static std::shared_ptr<const Mapping> at(const void* address);
  /// A mapping of that file, or null; the writable one if there are both.
  [[nodiscard]] static std::shared_ptr<const Mapping> of(FileId file);

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Moves the memory into huge pages, for all processes, and returns how many bytes lie in such: 0 where the memory is
  /// smaller than one or the system gives none. Needs Linux 6.1; /sys/kernel/mm/transparent_hugepage need not say so.
  std::size_t use_huge_pages() const noexcept;
  /// Maps every page now, for this process, instead of at the first access. Does nothing before Linux 5.14.
  void prefault() const noexcept;
  [[nodiscard]] FileId file() const noexcept { return file_; }
  /// Whether the other processes of the family can find it on the board of segments.
  [[nodiscard]] bool is_posted() const noexcept { return is_posted_.load(); }
  void set_posted() const noexcept { is_posted_.store(true); }

 private:
  Mapping(Fd fd, std::size_t size_bytes, Access access, FileId file);

  Fd fd_;
  FileId file_;
  Access access_;
  std::size_t size_;
  std::byte* data_ = nullptr;
  mutable std::atomic<bool> is_posted_{false};
};

/// Throws: SystemError.
[[nodiscard]] FileId file_of(int fd);

}  // namespace hogpen
