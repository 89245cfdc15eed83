#pragma once

#include <cstdint>

namespace hogpen {

/// A pointer from one place of the shared heap to another, which is right in every process, wherever its heap lies.
template <class T>
class HeapPointer {
 public:
  HeapPointer() = default;
  HeapPointer(const HeapPointer&) = delete;
  HeapPointer& operator=(const HeapPointer&) = delete;
  HeapPointer& operator=(T* target) noexcept {
    distance_ = reinterpret_cast<std::uintptr_t>(target) - reinterpret_cast<std::uintptr_t>(this);
    return *this;
  }
  operator T*() const noexcept { return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(this) + distance_); }

 private:
  std::uintptr_t distance_ = 0;
};

}  // namespace hogpen
