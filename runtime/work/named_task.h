#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>

#include "runtime/core/error.h"
#include "runtime/work/task.h"

namespace hogpen {

/// Makes a function a task that other programs know by its name: at namespace scope, `HOGPEN_TASK(square);`. A name
/// stands for one function in a program, whatever its types.
#define HOGPEN_TASK(function) \
  [[maybe_unused]] static const bool hogpen_task_##function = ::hogpen::detail::register_task<&function>(#function)

/// A task that workers find by its name among those that their own program has made known with HOGPEN_TASK:
/// `pool.map(NamedTask<double(double)>("square"), values)`. Items are converted to the types of its arguments.
///
/// For pools whose workers execute another program (`PoolOptions::program`); other pools take it, too.
template <class Signature>
class NamedTask;

template <class Out, class... In>
class NamedTask<Out(In...)> {
 public:
  static constexpr std::size_t kMostBytes = 119;

  /// Throws: UsageError for a name that is longer than kMostBytes.
  explicit NamedTask(std::string_view name) {
    require(name.size() <= kMostBytes, "the name of a task must have at most {} bytes, not {}: {}", kMostBytes,
            name.size(), name);
    name.copy(name_, name.size());
  }
  [[nodiscard]] const char* name() const noexcept { return name_; }

  /// Declared only, for its type: to call the function itself, no name is needed.
  Out operator()(In...) const;

 private:
  char name_[kMostBytes + 1] = {};
};

namespace detail {

// How a job tells a worker of another program what to run: the task's name, and the types that lie in the job's memory.
[[nodiscard]] std::uint64_t task_key(std::string_view name, const std::type_info& in, const std::type_info& out,
                                     bool spread);
void register_runner(std::string_view name, std::uint64_t key, RunItems run);
/// Throws: UsageError when this program has no such task, or one of other types.
[[nodiscard]] RunItems find_runner(std::string_view name, std::uint64_t key);

template <class F>
struct NamedTaskTraits : std::false_type {};

template <class Out, class... In>
struct NamedTaskTraits<NamedTask<Out(In...)>> : std::true_type {
  using Arguments = std::tuple<std::decay_t<In>...>;
};

// What items of type In travel as to a task F: those of a named one as what its function takes, which the other program
// knows.
template <bool kSpread, class F, class In>
struct ItemType {
  using type = In;
};
template <class F, class In>
  requires NamedTaskTraits<F>::value
struct ItemType<true, F, In> {
  using type = typename NamedTaskTraits<F>::Arguments;
};
template <class F, class In>
  requires NamedTaskTraits<F>::value
struct ItemType<false, F, In> {
  using Arguments = typename NamedTaskTraits<F>::Arguments;
  static_assert(std::tuple_size_v<Arguments> == 1, "map and imap give a task one argument: use starmap");
  using type = std::tuple_element_t<0, Arguments>;
};
template <bool kSpread, class F, class In>
using ItemOf = typename ItemType<kSpread, F, In>::type;

template <auto kFunction, class In, bool kSpread>
void run_registered(ItemRange& range) {
  run_each<In, kSpread>(range, kFunction);
}

template <auto kFunction, class Out, class... In>
bool register_function(std::string_view name, Out (*)(In...)) {
  using Arguments = std::tuple<std::decay_t<In>...>;
  register_runner(name, task_key(name, typeid(Arguments), typeid(std::decay_t<Out>), true),
                  run_registered<kFunction, Arguments, true>);
  if constexpr (sizeof...(In) == 1) {
    using Argument = std::tuple_element_t<0, Arguments>;
    register_runner(name, task_key(name, typeid(Argument), typeid(std::decay_t<Out>), false),
                    run_registered<kFunction, Argument, false>);
  }
  return true;
}

template <auto kFunction>
bool register_task(std::string_view name) {
  return register_function<kFunction>(name, kFunction);
}

}  // namespace detail
}  // namespace hogpen
