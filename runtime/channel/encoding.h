#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {

enum class BlockId : std::uint64_t;  // runtime/memory/shared_heap.h

/// How a value of T becomes a message: runtime/channel/codec.h.
template <class T>
struct Codec;

/// Where `Codec<T>::encode` writes.
struct Encoder {
  std::vector<std::byte> bytes;
  std::vector<BlockId> blocks;  ///< not retained: the message does that

  void write(const void* data, std::size_t size) {
    // Not `insert`: GCC 12 warns of an overflow that is none, in the code of whoever sends a string.
    const std::size_t end = bytes.size();
    bytes.resize(end + size);
    if (size != 0) std::memcpy(bytes.data() + end, data, size);
  }
  template <class T>
  void value(const T& value) {
    Codec<T>::encode(*this, value);
  }
};

/// Where `Codec<T>::decode` reads. Throws: Error when the message ends too early.
struct Decoder {
  std::span<const std::byte> bytes;  ///< what is left

  [[nodiscard]] std::span<const std::byte> take(std::size_t size) {
    if (size > bytes.size()) {
      throw Error(fmt::format("the message ends {} bytes too early", size - bytes.size()),
                  "sender and receiver must use the same type");
    }
    const auto taken = bytes.first(size);
    bytes = bytes.subspan(size);
    return taken;
  }
  void read(void* data, std::size_t size) {
    const auto from = take(size);
    if (size != 0) std::memcpy(data, from.data(), size);
  }
  template <class T>
  [[nodiscard]] T value() {
    return Codec<T>::decode(*this);
  }
};

}  // namespace hogpen
