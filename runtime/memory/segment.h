#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "runtime/core/fd.h"
#include "runtime/memory/mapping.h"

namespace hogpen {

/// A fixed-size piece of memory that processes share: an anonymous memfd, mapped once.
///
/// It has no name in any file system, so nothing is left behind however its users die. Its size is sealed, so that no
/// process can shrink it under another (SIGBUS). Forked children inherit the mapping; any other process is given the
/// descriptor (SCM_RIGHTS, or /proc/PID/fd) and attaches.
///
/// Sharing: the bytes are shared between all processes and threads; the object is a handle, and a copy is another one
/// to the same mapping. Owns: with its copies, one descriptor and one mapping. Views of the bytes must not outlive them
/// all.
class Segment {
 public:
  using Access = Mapping::Access;

  /// Makes a zero-filled Segment with all its memory taken now. `label` is for people: it shows in /proc/PID/maps.
  ///
  /// Throws: UsageError for size 0; before any memory is taken, SystemError(ENOMEM) when less is available than asked,
  /// and SystemError(EFBIG) when RLIMIT_FSIZE is less.
  [[nodiscard]] static Segment create(std::string_view label, std::size_t size_bytes);

  /// Maps the Segment behind a descriptor, unless this process has it mapped with that access already.
  ///
  /// Throws: UsageError when it is empty or not sealed against shrinking; SystemError when it cannot be mapped.
  [[nodiscard]] static Segment attach(Fd fd, Access access = Access::read_write);

  [[nodiscard]] std::byte* data() const noexcept { return mapping_ ? mapping_->data() : nullptr; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return mapping_ ? mapping_->size_bytes() : 0; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), size_bytes()}; }
  [[nodiscard]] const std::shared_ptr<const Mapping>& mapping() const noexcept { return mapping_; }
  [[nodiscard]] int fd() const noexcept { return mapping_ ? mapping_->fd() : -1; }

 private:
  explicit Segment(std::shared_ptr<const Mapping> mapping) noexcept : mapping_(std::move(mapping)) {}

  std::shared_ptr<const Mapping> mapping_;
};

}  // namespace hogpen
