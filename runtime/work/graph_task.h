#pragma once

#include <array>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "runtime/channel/sendable.h"
#include "runtime/channel/tensor_codec.h"  // a task that takes tensors must not be another where this was forgotten
#include "runtime/work/graph_argument.h"
#include "runtime/work/graph_pooled.h"
#include "runtime/work/plan_job.h"

namespace hogpen::detail {

/// Whether F can be called with a tuple's elements.
template <class F, class Values>
inline constexpr bool kCanTake = false;
template <class F, class... Values>
inline constexpr bool kCanTake<F, std::tuple<Values...>> = std::is_invocable_v<const F&, Values...>;

/// Values: the tuple of types that F is given.
template <class F, class Values>
struct TaskTypes;
template <class F, class... Values>
struct TaskTypes<F, std::tuple<Values...>> {
  using Result = std::decay_t<std::invoke_result_t<const F&, Values...>>;
  using Item = std::tuple<std::decay_t<Values>...>;
  using Call = PooledCall<F, std::tuple<Values...>>;
  static constexpr bool kSendsFunction = kIsTask<F>;
  static constexpr bool kSendsArguments = (Sendable<std::decay_t<Values>> && ...);
  static constexpr bool kSendsResult = Sendable<typename ResultNode<Result>::Value>;
};

template <class... Arguments>
using ValuesOf =
    decltype(std::tuple_cat(std::declval<const Arguments&>().values(std::declval<const GraphEdge*&>())...));

/// A function and its arguments.
///
/// Sharing: as GraphNode. Owns: them.
template <class F, class... Arguments>
class TaskNode final : public ResultNode<typename TaskTypes<F, ValuesOf<Arguments...>>::Result> {
  using Types = TaskTypes<F, ValuesOf<Arguments...>>;
  using Base = ResultNode<typename Types::Result>;
  using typename Base::Value;

 public:
  using Result = typename Types::Result;

  template <class... Given>
  TaskNode(NodeSlab* slab, F function, Given&&... given)
      : Base(slab),
        function_(std::move(function)),
        arguments_(Arguments{std::forward<Given>(given)}...) {  // of results it moves nothing
    if constexpr (kHasVectors) edges_ = std::make_unique<GraphEdge[]>((std::size_t{0} + ... + Arguments::edges(given)));
    std::size_t count = 0;
    [[maybe_unused]] const auto connect_one = [&](GraphNode* dependency) {
      Base::connect(edges_[count++], dependency);
    };
    (Arguments::connect(std::forward<Given>(given), connect_one), ...);
    if (count > 0) Base::set_edges(&edges_[0], count);
  }

  void run() override {
    Base::keep([this]() -> Result { return std::apply(std::as_const(function_), values()); });
  }

  [[nodiscard]] const char* why_unsendable() const noexcept override {
    if constexpr (!Types::kSendsFunction) {
      return "its function captures something that is not trivially copyable, or more than 128 bytes";
    } else if constexpr (!Types::kSendsArguments) {
      return "an argument is of a type that has no Codec";
    } else if constexpr (!Types::kSendsResult) {
      return "its result is of a type that has no Codec";
    } else {
      return nullptr;
    }
  }

  [[nodiscard]] std::shared_ptr<Job> submit(PoolCore& pool) override {
    if constexpr (kIsSendable) {
      const std::array<typename Types::Item, 1> items = {typename Types::Item(values())};
      return pool.submit(plan_job<true, typename Types::Item>(typename Types::Call{function_}, items));
    } else {
      throw UsageError(why_unsendable());
    }
  }

  [[nodiscard]] TaskTimes receive(const Job& job) override {
    job.require_success();
    TaskTimes times;
    if constexpr (kIsSendable) {
      Base::keep([&] {
        auto reported = read_result<Reported<Value>>(job, 0);
        times = reported.times;
        return std::move(reported.value);
      });
    }
    return times;
  }

 private:
  static constexpr bool kIsSendable = Types::kSendsFunction && Types::kSendsArguments && Types::kSendsResult;

  // What the function is called with, all results being there.
  [[nodiscard]] auto values() const {
    const GraphEdge* edge = Base::edges().data();
    return std::apply(
        [&](const auto&... argument) {
          return std::apply([](auto&&... each) { return std::tuple_cat(std::move(each)...); },
                            std::tuple<decltype(argument.values(edge))...>{argument.values(edge)...});
        },
        arguments_);
  }

  static constexpr bool kHasVectors = ((Arguments::kEdges == kAnyNumber) || ...);
  static constexpr std::size_t kEdges = (std::size_t{0} + ... + Arguments::kEdges);

  [[no_unique_address]] F function_;
  std::tuple<Arguments...> arguments_;
  std::conditional_t<kHasVectors, std::unique_ptr<GraphEdge[]>, std::array<GraphEdge, kHasVectors ? 0 : kEdges>> edges_;
};

}  // namespace hogpen::detail
