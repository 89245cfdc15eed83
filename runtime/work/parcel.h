#pragma once

#include <cstdint>

#include "runtime/channel/codec.h"
#include "runtime/memory/shared_heap.h"

namespace hogpen {

/// An encoded value in a block of the shared heap, with the blocks it refers to (tensors). It belongs to a job, not to
/// a process: it stays until `drop_parcel`.
enum class Parcel : std::uint32_t { none = 0 };

/// Throws: SystemError(ENOMEM).
[[nodiscard]] Parcel make_parcel(const Encoder& value);
void drop_parcel(Parcel parcel) noexcept;

/// A parcel being read. Requires: it is not dropped meanwhile.
class OpenParcel {
 public:
  explicit OpenParcel(Parcel parcel);
  [[nodiscard]] Decoder decoder() const noexcept;

 private:
  SharedBlock block_;
};

}  // namespace hogpen
