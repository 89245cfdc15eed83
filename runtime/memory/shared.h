#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include "runtime/memory/shared_heap.h"

namespace hogpen {

/// An object in shared memory: `Shared<Event> ready;`. Make it before the fork; the children have it, too. A copy is
/// another handle to the same object.
///
/// The object is never destroyed, because a peer may still use it; its memory goes with its last user.
///
/// Sharing: that of T. Owns: a share of a block of the shared heap. Requires: T holds no pointers and no memory of its
/// own.
template <class T>
class Shared {
  static_assert(alignof(T) <= 64);
  static_assert(std::is_trivially_destructible_v<T>, "what lies in shared memory must own nothing that is not in it");

 public:
  /// Throws: what `SharedBlock::allocate` and T's constructor throw.
  template <class... Args>
    requires std::is_constructible_v<T, Args...>
  explicit Shared(Args&&... args)
      : block_(SharedBlock::allocate(sizeof(T))), object_(new(block_.data()) T(std::forward<Args>(args)...)) {}

  /// The object in a block that another process made as a Shared<T>, and in which it holds a share meanwhile.
  [[nodiscard]] static Shared open(BlockId id) { return Shared(SharedBlock::open(id)); }

  [[nodiscard]] BlockId id() const noexcept { return block_.id(); }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }

 private:
  explicit Shared(SharedBlock block) : block_(std::move(block)), object_(reinterpret_cast<T*>(block_.data())) {}

  SharedBlock block_;
  T* object_;
};

}  // namespace hogpen
