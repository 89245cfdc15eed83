#pragma once

#include "runtime/core/fd.h"

namespace hogpen {

/// One of the 256 places in the shared heap for processes, held by a lock on a byte of its file.
///
/// The lock belongs to an open file description of its own (F_OFD_SETLK). So the kernel takes it away when the last
/// process that has the description ends, however it ends; and a parent can take the place of a child before it forks,
/// after which the parent closes its copy and the child keeps the other: there is no instant at which a death would be
/// overlooked, or a child that lives be taken for dead.
///
/// Sharing: not thread-safe. Owns: a descriptor, and with it the place.
class LifeLine {
 public:
  static constexpr int kPlaces = 256;

  LifeLine() = default;  ///< holds no place
  /// Takes a place that nobody holds. Throws: SystemError; Error when all are taken.
  [[nodiscard]] static LifeLine take(int heap_fd);

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  [[nodiscard]] int place() const noexcept { return place_; }

  /// Takes another's place besides, if its holder is dead: nobody else can have it until it is left again.
  [[nodiscard]] bool take_from_the_dead(int place) const noexcept;
  void leave(int place) const noexcept;

 private:
  LifeLine(Fd fd, int place) noexcept : fd_(static_cast<Fd&&>(fd)), place_(place) {}

  Fd fd_;
  int place_ = -1;
};

/// Excludes all other processes and threads of the heap's family from what bears the same name, as long as it lives.
/// The death of its process ends it, too.
///
/// Sharing: one thread. Owns: a descriptor.
class HeapLock {
 public:
  enum class Name { growth, board };
  /// Waits until nobody has it. Throws: SystemError.
  HeapLock(int heap_fd, Name name);
  HeapLock(const HeapLock&) = delete;
  HeapLock& operator=(const HeapLock&) = delete;
  ~HeapLock();

 private:
  Fd fd_;
  int byte_;
};

}  // namespace hogpen
