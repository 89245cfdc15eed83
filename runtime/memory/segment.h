#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "runtime/core/fd.h"

namespace hogpen {

/// A fixed-size piece of memory that processes share: an anonymous memfd, mapped once.
///
/// It has no name in any file system, so nothing is left behind however its users die. Its size is sealed, so that no
/// process can shrink it under another (SIGBUS). Forked children inherit the mapping; any other process is given the
/// descriptor (SCM_RIGHTS, or /proc/PID/fd) and attaches.
///
/// Sharing: the bytes are shared between all processes and threads; the object itself is not thread-safe.
/// Owns: one descriptor and one mapping. Views of the bytes must not outlive it.
class Segment {
 public:
  enum class Access { read_write, read_only };

  /// Makes a zero-filled Segment with all its memory taken now. `label` is for people: it shows in /proc/PID/maps.
  ///
  /// Throws: UsageError for size 0; before any memory is taken, SystemError(ENOMEM) when less is available than asked,
  /// and SystemError(EFBIG) when RLIMIT_FSIZE is less.
  [[nodiscard]] static Segment create(std::string_view label, std::size_t size_bytes);

  /// Maps the Segment behind a descriptor.
  ///
  /// Throws: UsageError when it is empty or not sealed against shrinking; SystemError when it cannot be mapped.
  [[nodiscard]] static Segment attach(Fd fd, Access access = Access::read_write);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  Segment(Fd fd, std::byte* data, std::size_t size) noexcept;

  Fd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace hogpen
