#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "runtime/core/error.h"
#include "runtime/memory/shared_heap.h"
#include "runtime/sync/mutex.h"

namespace hogpen {

/// Numbers, or other plain values, in shared memory, and a lock for them. Make it before the fork; a copy is another
/// handle to the same values.
///
/// Access takes no lock by itself. Who changes what others change, too, holds `lock()` meanwhile, whose Guard tells
/// when its last holder died in the midst of a change. For tensors there is the Arena.
///
/// Sharing: processes and threads. Owns: a share of a block of the shared heap.
template <class T>
class SharedArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>,
                "the values of a SharedArray must be trivially copyable: pointers and owners mean nothing to a peer");

 public:
  /// Throws: UsageError for size 0; what `SharedBlock::allocate` throws.
  explicit SharedArray(std::size_t size, const T& value = T{}) : SharedArray(Uninitialised{size}) {
    std::uninitialized_fill(begin(), end(), value);
  }
  explicit SharedArray(std::span<const T> values) : SharedArray(Uninitialised{values.size()}) {
    std::uninitialized_copy(values.begin(), values.end(), begin());
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* data() const noexcept { return data_; }
  [[nodiscard]] std::span<T> span() const noexcept { return {data_, size_}; }
  [[nodiscard]] T* begin() const noexcept { return data_; }
  [[nodiscard]] T* end() const noexcept { return data_ + size_; }
  [[nodiscard]] T& operator[](std::size_t index) const noexcept { return data_[index]; }
  /// Throws: UsageError for an index that is not there.
  [[nodiscard]] T& at(std::size_t index) const {
    require(index < size_, "index {} must be less than {}, the size of the shared array", index, size_);
    return data_[index];
  }

  [[nodiscard]] Mutex::Guard lock() const { return mutex().lock(); }
  /// Nothing in time is no value.
  [[nodiscard]] std::optional<Mutex::Guard> lock(Deadline deadline) const { return mutex().lock(deadline); }

 private:
  struct Uninitialised {
    std::size_t size;
  };
  static constexpr std::size_t kDataBegin = std::max<std::size_t>({64, alignof(T), sizeof(Mutex)});

  explicit SharedArray(Uninitialised asked) : size_(asked.size) {
    require(size_ > 0, "a shared array must have at least one element");
    require(size_ <= (std::size_t{1} << 60) / sizeof(T), "a shared array of {} elements is too large", size_);
    block_ = SharedBlock::allocate(kDataBegin + size_ * sizeof(T));
    new (block_.data()) Mutex;
    data_ = reinterpret_cast<T*>(block_.data() + kDataBegin);
  }
  [[nodiscard]] Mutex& mutex() const noexcept { return *reinterpret_cast<Mutex*>(block_.data()); }

  SharedBlock block_;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// One value in shared memory, and a lock for it. As SharedArray in everything.
template <class T>
class SharedValue {
 public:
  explicit SharedValue(const T& value = T{}) : array_(1, value) {}

  [[nodiscard]] T& operator*() const noexcept { return array_[0]; }
  [[nodiscard]] T* operator->() const noexcept { return array_.data(); }
  [[nodiscard]] Mutex::Guard lock() const { return array_.lock(); }
  /// Nothing in time is no value.
  [[nodiscard]] std::optional<Mutex::Guard> lock(Deadline deadline) const { return array_.lock(deadline); }

 private:
  SharedArray<T> array_;
};

}  // namespace hogpen
