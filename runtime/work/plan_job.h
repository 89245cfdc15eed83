#pragma once

#include <cstring>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <vector>

#include "runtime/work/named_task.h"
#include "runtime/work/pool_core.h"
#include "runtime/work/task.h"

namespace hogpen::detail {

// Makes the plan's input from the items of a range.
template <class In, class Range>
void plan_input(JobPlan& plan, const Range& items) {
  plan.items = static_cast<std::uint64_t>(std::ranges::distance(items));
  if constexpr (PlainMessage<In>) {
    plan.input_bytes = plan.items * sizeof(In);
    plan.write_input = [&items](std::byte* input) {
      if constexpr (std::ranges::contiguous_range<Range> && std::is_same_v<std::ranges::range_value_t<Range>, In>) {
        const auto count = static_cast<std::size_t>(std::ranges::distance(items));
        if (count > 0) std::memcpy(input, std::to_address(std::ranges::begin(items)), count * sizeof(In));
      } else {
        for (auto&& given : items) {
          const In item = static_cast<In>(given);
          std::memcpy(input, &item, sizeof(In));
          input += sizeof(In);
        }
      }
    };
  } else {
    auto ends = std::make_shared<std::vector<std::uint64_t>>(1, 0);
    auto encoded = std::make_shared<Encoder>();
    for (const auto& item : items) {
      encoded->template value<In>(item);
      ends->push_back(encoded->bytes.size());
    }
    plan.blocks = encoded->blocks;
    plan.input_bytes = ends->size() * sizeof(std::uint64_t) + encoded->bytes.size();
    plan.write_input = [ends, encoded](std::byte* input) {
      std::memcpy(input, ends->data(), ends->size() * sizeof(std::uint64_t));
      input += ends->size() * sizeof(std::uint64_t);
      if (!encoded->bytes.empty()) std::memcpy(input, encoded->bytes.data(), encoded->bytes.size());
    };
  }
}

// A job that runs `function` on each item. `items` must live until it was submitted.
template <bool kSpread, class In, class F, class Range>
JobPlan plan_job(const F& function, const Range& items) {
  check_task<F>();
  using Out = ResultOf<kSpread, F, In>;
  JobPlan plan{.closure = std::as_bytes(std::span(&function, 1))};
  if constexpr (NamedTaskTraits<F>::value) {
    plan.task = task_key(function.name(), typeid(In), typeid(Out), kSpread);
  } else {
    plan.run = run_items<F, In, kSpread>;
  }
  plan_input<In>(plan, items);
  if constexpr (!std::is_void_v<Out>) {
    plan.has_parcels = !PlainMessage<Out>;
    plan.output_bytes = plan.items * (PlainMessage<Out> ? sizeof(Out) : sizeof(Parcel));
  }
  return plan;
}

}  // namespace hogpen::detail
