#pragma once

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/channel/codec.h"

namespace hogpen {

namespace detail {
template <class T>
inline constexpr bool kHasCodec = !requires { requires Codec<T>::kIsMissing; };
template <class T>
inline constexpr bool kHasCodec<std::vector<T>> = kHasCodec<T>;
template <class... T>
inline constexpr bool kHasCodec<std::tuple<T...>> = (kHasCodec<T> && ...);
template <class A, class B>
inline constexpr bool kHasCodec<std::pair<A, B>> = kHasCodec<A> && kHasCodec<B>;
template <class T>
inline constexpr bool kHasCodec<std::optional<T>> = kHasCodec<T>;
}  // namespace detail

/// A type that can be sent to another process.
template <class T>
concept Sendable = detail::kHasCodec<T>;

}  // namespace hogpen
