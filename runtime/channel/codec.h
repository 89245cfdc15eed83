#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/channel/encoding.h"

namespace hogpen {

/// How a value travels in a message: its bytes, and the blocks of the shared heap that the bytes refer to.
///
/// Trivially copyable types, strings, vectors, pairs, tuples and optionals have one; tensors have theirs in
/// runtime/channel/tensor_codec.h. For a type of your own, specialise it with two static functions:
/// `void encode(Encoder&, const T&)` and `T decode(Decoder&)`.
template <class T>
struct Codec;

namespace detail {
template <class T>
inline constexpr bool kIsView = std::is_pointer_v<T> || std::is_member_pointer_v<T>;
template <class C, class Traits>
inline constexpr bool kIsView<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t n>
inline constexpr bool kIsView<std::span<T, n>> = true;
}  // namespace detail

/// A type whose bytes are its value, in every process of the family.
template <class T>
concept PlainBytes = std::is_trivially_copyable_v<T> && !detail::kIsView<T>;

template <class T>
struct Codec {
  static constexpr bool kIsPlain = PlainBytes<T>;
  static constexpr bool kIsMissing = !kIsPlain;

  static void encode(Encoder& to, const T& value) {
    check();
    to.write(&value, sizeof(T));
  }
  static T decode(Decoder& from) {
    check();
    union {  // T need not have a default constructor
      T value;
      std::byte bytes[sizeof(T)];
    } place{.bytes = {}};
    from.read(place.bytes, sizeof(T));
    return place.value;
  }

 private:
  static constexpr void check() {
    static_assert(!detail::kIsView<T>, "a pointer or view means nothing in another process: send a string or a vector");
    static_assert(detail::kIsView<T> || std::is_trivially_copyable_v<T>,
                  "hogpen::Codec must be specialised for this type (tensors: runtime/channel/tensor_codec.h)");
  }
};

/// Whether a message of T is nothing but the bytes of the object.
template <class T>
concept PlainMessage = requires { requires Codec<T>::kIsPlain; };

template <>
struct Codec<std::string> {
  static void encode(Encoder& to, const std::string& value) {
    to.value<std::uint64_t>(value.size());
    to.write(value.data(), value.size());
  }
  static std::string decode(Decoder& from) {
    const auto text = from.take(from.value<std::uint64_t>());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
};

template <class T>
struct Codec<std::vector<T>> {
  static constexpr bool kOneCopy = PlainMessage<T> && std::is_default_constructible_v<T> && !std::is_same_v<T, bool>;

  static void encode(Encoder& to, const std::vector<T>& values) {
    to.value<std::uint64_t>(values.size());
    if constexpr (kOneCopy) {
      to.write(values.data(), values.size() * sizeof(T));
    } else {
      for (const T& value : values) to.value<T>(value);
    }
  }
  static std::vector<T> decode(Decoder& from) {
    const auto count = from.value<std::uint64_t>();
    std::vector<T> values;
    if constexpr (kOneCopy) {
      if (count > from.bytes.size() / sizeof(T)) (void)from.take(from.bytes.size() + 1);  // throws
      values.resize(count);
      from.read(values.data(), count * sizeof(T));
    } else {
      values.reserve(std::min<std::size_t>(count, from.bytes.size()));
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(from.value<T>());
    }
    return values;
  }
};

template <class... T>
  requires(!PlainBytes<std::tuple<T...>>)
struct Codec<std::tuple<T...>> {
  static void encode(Encoder& to, const std::tuple<T...>& values) {
    std::apply([&](const T&... value) { (to.value<T>(value), ...); }, values);
  }
  static std::tuple<T...> decode(Decoder& from) {
    return std::tuple<T...>{from.value<T>()...};  // braces: from left to right
  }
};

template <class A, class B>
  requires(!PlainBytes<std::pair<A, B>>)
struct Codec<std::pair<A, B>> {
  static void encode(Encoder& to, const std::pair<A, B>& values) {
    to.value<A>(values.first);
    to.value<B>(values.second);
  }
  static std::pair<A, B> decode(Decoder& from) { return {from.value<A>(), from.value<B>()}; }
};

template <class T>
  requires(!PlainBytes<T>)
struct Codec<std::optional<T>> {
  static void encode(Encoder& to, const std::optional<T>& value) {
    to.value<bool>(value.has_value());
    if (value) to.value<T>(*value);
  }
  static std::optional<T> decode(Decoder& from) {
    return from.value<bool>() ? std::optional<T>(from.value<T>()) : std::nullopt;
  }
};

}  // namespace hogpen
