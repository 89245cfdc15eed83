#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/work/parcel.h"
#include "runtime/work/pool_core.h"

namespace hogpen::detail {

// How one item of type In is given to the task: as it is, or a tuple's elements one by one.
template <bool kSpread, class F, class In>
decltype(auto) call(const F& function, In&& item) {
  if constexpr (kSpread) {
    return std::apply(function, std::forward<In>(item));
  } else {
    return std::invoke(function, std::forward<In>(item));
  }
}

template <bool kSpread, class F, class In>
using ResultOf = std::decay_t<decltype(call<kSpread>(std::declval<const F&>(), std::declval<In>()))>;

/// Whether a Pool's workers can be given that function.
template <class F>
inline constexpr bool kIsTask = std::is_trivially_copyable_v<F> && sizeof(F) <= JobSlot::kClosureBytes;

template <class F>
constexpr void check_task() {
  static_assert(
      kIsTask<F>,
      "a task of a Pool must be a function, or a lambda that captures at most 128 bytes of trivially copyable "
      "values: give it everything else as an argument, which may be a string, a vector or a tensor");
}

// Items of a plain type lie in the input as an array. Others are encoded one behind the other; before them stand the
// places where each begins, and the last ends.
template <class In>
In read_item(const std::byte* input, std::uint64_t items, std::uint64_t index) {
  if constexpr (PlainMessage<In>) {
    Decoder from{.bytes = {input + index * sizeof(In), sizeof(In)}};
    return from.template value<In>();
  } else {
    const auto* ends = reinterpret_cast<const std::uint64_t*>(input);
    const std::byte* encoded = input + (items + 1) * sizeof(std::uint64_t);
    Decoder from{.bytes = {encoded + ends[index], ends[index + 1] - ends[index]}};
    return from.template value<In>();
  }
}

template <class Out>
void store_result(std::byte* output, std::uint64_t index, Out&& result) {
  using Value = std::decay_t<Out>;
  if constexpr (PlainMessage<Value>) {
    std::memcpy(output + index * sizeof(Value), &result, sizeof(Value));
  } else {
    Encoder to;
    to.value<Value>(result);
    // A worker that died may have left a parcel here.
    auto& place = reinterpret_cast<std::atomic<Parcel>*>(output)[index];
    drop_parcel(place.exchange(make_parcel(to)));
  }
}

template <class In, bool kSpread, class F>
void run_each(ItemRange& range, const F& function) {
  using Out = ResultOf<kSpread, F, In>;
  for (std::uint64_t index = range.first; index < range.last; ++index) {
    range.current = index;
    In item = read_item<In>(range.job.input, range.job.items, index);
    if constexpr (std::is_void_v<Out>) {
      call<kSpread>(function, std::move(item));
    } else {
      store_result<Out>(range.job.output, index, call<kSpread>(function, std::move(item)));
    }
  }
}

// Runs in a worker. Its address is the same there, because the worker was forked from this program.
template <class F, class In, bool kSpread>
void run_items(ItemRange& range) {
  run_each<In, kSpread>(range, *std::launder(reinterpret_cast<const F*>(range.job.closure)));
}

template <class Out>
Out read_result(const Job& job, std::uint64_t index) {
  if constexpr (PlainMessage<Out>) {
    Decoder from{.bytes = {job.output() + index * sizeof(Out), sizeof(Out)}};
    return from.template value<Out>();
  } else {
    const OpenParcel parcel(reinterpret_cast<const Parcel*>(job.output())[index]);
    return parcel.decoder().template value<Out>();
  }
}

template <class Out>
std::vector<Out> read_results(const Job& job) {
  std::vector<Out> results;
  if constexpr (PlainMessage<Out> && std::is_default_constructible_v<Out> && !std::is_same_v<Out, bool>) {
    results.resize(job.items());
    if (!results.empty()) std::memcpy(results.data(), job.output(), results.size() * sizeof(Out));
  } else {
    results.reserve(job.items());
    for (std::uint64_t index = 0; index < job.items(); ++index) results.push_back(read_result<Out>(job, index));
  }
  return results;
}

}  // namespace hogpen::detail
