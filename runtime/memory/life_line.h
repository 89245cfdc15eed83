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

  /// Locks of the whole heap, that the death of a holder unlocks; threads of one process do not exclude each other.
  enum class Lock { growth, board };
  void lock(Lock which) const;
  void unlock(Lock which) const noexcept;

 private:
  LifeLine(Fd fd, int place) noexcept : fd_(static_cast<Fd&&>(fd)), place_(place) {}

  Fd fd_;
  int place_ = -1;
};

}  // namespace hogpen
