#pragma once

#include <unistd.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "runtime/channel/codec.h"
#include "runtime/work/graph_node.h"

namespace hogpen {
namespace detail {

/// The result of a task and when it was run, on their way from another process.
template <class Value>
struct Reported {
  Value value;
  TaskTimes times;
};

/// A task as a pool is given it: it passes its arguments on as the calling thread would.
template <class F, class Values>
struct PooledCall;
template <class F, class... Values>
struct PooledCall<F, std::tuple<Values...>> {
  F function;

  auto operator()(std::decay_t<Values>... values) const {
    using Result = std::decay_t<std::invoke_result_t<const F&, Values...>>;
    TaskTimes times{.begin = TaskTimes::now()};
    const auto finish = [&] {
      times.end = TaskTimes::now();
      times.pid = ::getpid();
    };
    if constexpr (std::is_void_v<Result>) {
      std::invoke(function, static_cast<Values&&>(values)...);
      finish();
      return Reported<std::monostate>{{}, times};
    } else {
      Reported<Result> reported{std::invoke(function, static_cast<Values&&>(values)...), {}};
      finish();
      reported.times = times;
      return reported;
    }
  }
};

}  // namespace detail

template <class Value>
  requires(!PlainBytes<Value>)
struct Codec<detail::Reported<Value>> {
  static void encode(Encoder& to, const detail::Reported<Value>& reported) {
    to.value<Value>(reported.value);
    to.value(reported.times);
  }
  static detail::Reported<Value> decode(Decoder& from) {
    return {from.value<Value>(), from.value<detail::TaskTimes>()};  // braces: from left to right
  }
};

}  // namespace hogpen
