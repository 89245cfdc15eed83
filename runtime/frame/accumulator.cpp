#include "runtime/frame/accumulator.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/compute/cast.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"

namespace hogpen::detail {
namespace {

bool has(const std::vector<Aggregate>& aggregates, std::initializer_list<Aggregate> any) {
  return std::ranges::any_of(any, [&](Aggregate a) { return std::ranges::find(aggregates, a) != aggregates.end(); });
}

bool is_number(const arrow::DataType& type) {
  return arrow::is_integer(type.id()) || arrow::is_floating(type.id()) || type.id() == arrow::Type::BOOL;
}

/// Points in time, which have a least and a largest one, but no sum.
bool is_time(const arrow::DataType& type) {
  return arrow::is_temporal(type.id());
}

/// What numbers of a type are added up as.
std::shared_ptr<arrow::DataType> widest(const arrow::DataType& type) {
  if (arrow::is_floating(type.id())) return arrow::float64();
  return type.id() == arrow::Type::UINT64 ? arrow::uint64() : arrow::int64();
}

/// Calls add(i, value) for each value that is there.
template <class T, class Add>
void for_each_value(const arrow::Array& values, const Add& add) {
  const T* const all = values.data()->GetValues<T>(1);
  const bool has_nulls = values.null_count() != 0;
  for (std::int64_t i = 0; i < values.length(); ++i) {
    if (!has_nulls || values.IsValid(i)) add(static_cast<std::size_t>(i), all[i]);
  }
}

/// Of int64, uint64 or double.
template <class T>
class NumberAccumulator final : public Accumulator {
 public:
  NumberAccumulator(std::shared_ptr<arrow::DataType> type, const std::vector<Aggregate>& aggregates, std::string column)
      : type_(std::move(type)),
        column_(std::move(column)),
        sums_(has(aggregates, {Aggregate::sum}) || (has(aggregates, {Aggregate::mean}) && !std::is_integral_v<T>)),
        means_(has(aggregates, {Aggregate::mean}) && std::is_integral_v<T>),
        bounds_(has(aggregates, {Aggregate::min, Aggregate::max})),
        moments_(has(aggregates, {Aggregate::std})) {}

  void resize(std::size_t groups) override {
    count_.resize(groups);
    if (sums_) sum_.resize(groups);
    if (means_) real_sum_.resize(groups);
    if (bounds_) min_.resize(groups, highest());
    if (bounds_) max_.resize(groups, lowest());
    if (moments_) mean_.resize(groups);
    if (moments_) square_.resize(groups);
  }

  void add(const arrow::Array& values, std::span<const std::uint32_t> groups) override {
    for_each_value<T>(values, [&](std::size_t i, T) { ++count_[groups[i]]; });
    if (sums_) for_each_value<T>(values, [&](std::size_t i, T value) { add_to(sum_[groups[i]], value); });
    if (means_) {
      for_each_value<T>(values, [&](std::size_t i, T value) { real_sum_[groups[i]] += static_cast<double>(value); });
    }
    if (bounds_) {
      for_each_value<T>(values, [&](std::size_t i, T value) { bound(groups[i], value, value); });
    }
    if (moments_) add_moments(values, groups);
  }

  void merge(const Accumulator& other, std::span<const std::uint32_t> groups) override {
    const auto& from = static_cast<const NumberAccumulator&>(other);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const std::size_t group = groups[i];
      if (moments_) merge_moments(group, from, i);
      count_[group] += from.count_[i];
      if (sums_) add_to(sum_[group], from.sum_[i]);
      if (means_) real_sum_[group] += from.real_sum_[i];
      if (bounds_) bound(group, from.min_[i], from.max_[i]);
    }
  }

  std::shared_ptr<arrow::Array> finish(Aggregate aggregate) const override {
    switch (aggregate) {
      case Aggregate::count:
        return made<arrow::Int64Builder>([&](std::size_t g) { return count_[g]; }, false);
      case Aggregate::sum:
        return made<Builder>([&](std::size_t g) { return sum_[g]; }, false);
      case Aggregate::mean:
        return made<arrow::DoubleBuilder>([&](std::size_t g) { return total(g) / static_cast<double>(count_[g]); },
                                          true);
      case Aggregate::min:
        return as_column(made<Builder>([&](std::size_t g) { return least(g); }, true));
      case Aggregate::max:
        return as_column(made<Builder>([&](std::size_t g) { return largest(g); }, true));
      case Aggregate::std:
        break;
    }
    arrow::DoubleBuilder builder;
    for (std::size_t g = 0; g < count_.size(); ++g) {
      const auto n = static_cast<double>(count_[g]);
      arrow_ok(n < 2.0 ? builder.AppendNull() : builder.Append(std::sqrt(square_[g] / (n - 1.0))));
    }
    return arrow_ok(builder.Finish());
  }

 private:
  using Builder = arrow::NumericBuilder<typename arrow::CTypeTraits<T>::ArrowType>;
  static constexpr bool kIsReal = !std::is_integral_v<T>;

  static T highest() { return kIsReal ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max(); }
  static T lowest() { return kIsReal ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::min(); }

  void add_to(T& sum, T value) const {
    if constexpr (kIsReal) {
      sum += value;
    } else if (__builtin_add_overflow(sum, value, &sum)) {
      throw UsageError(fmt::format("the sum of column '{}' is larger than 64 bits", column_),
                       "cast the column to float64 before");
    }
  }

  // A comparison with NaN is false.
  void bound(std::size_t group, T low, T high) {
    if (low < min_[group]) min_[group] = low;
    if (high > max_[group]) max_[group] = high;
  }

  [[nodiscard]] double total(std::size_t group) const {
    if constexpr (kIsReal) return sum_[group];
    return real_sum_[group];
  }
  // Where all are NaN.
  [[nodiscard]] T least(std::size_t group) const {
    if constexpr (kIsReal) return min_[group] > max_[group] ? std::numeric_limits<T>::quiet_NaN() : min_[group];
    return min_[group];
  }
  [[nodiscard]] T largest(std::size_t group) const {
    if constexpr (kIsReal) return min_[group] > max_[group] ? std::numeric_limits<T>::quiet_NaN() : max_[group];
    return max_[group];
  }

  // Source: Welford 1962 for a row, Chan, Golub and LeVeque 1979 for a chunk.
  void add_moments(const arrow::Array& values, std::span<const std::uint32_t> groups) {
    std::vector<std::int64_t> seen(count_.size());  // `count_` has them all already
    for_each_value<T>(values, [&](std::size_t i, T value) {
      const std::size_t group = groups[i];
      const double difference = static_cast<double>(value) - mean_[group];
      mean_[group] += difference / static_cast<double>(++seen[group]);
      square_[group] += difference * (static_cast<double>(value) - mean_[group]);
    });
  }
  void merge_moments(std::size_t group, const NumberAccumulator& from, std::size_t i) {
    if (from.count_[i] == 0) return;
    const auto before = static_cast<double>(count_[group]);
    const auto more = static_cast<double>(from.count_[i]);
    const double difference = from.mean_[i] - mean_[group];
    mean_[group] += difference * more / (before + more);
    square_[group] += from.square_[i] + difference * difference * before * more / (before + more);
  }

  template <class B, class Value>
  std::shared_ptr<arrow::Array> made(const Value& value, bool is_null_if_empty) const {
    B builder;
    arrow_ok(builder.Reserve(static_cast<std::int64_t>(count_.size())));
    for (std::size_t g = 0; g < count_.size(); ++g) {
      if (is_null_if_empty && count_[g] == 0) {
        builder.UnsafeAppendNull();
      } else {
        builder.UnsafeAppend(value(g));
      }
    }
    return arrow_ok(builder.Finish());
  }
  [[nodiscard]] std::shared_ptr<arrow::Array> as_column(std::shared_ptr<arrow::Array> array) const {
    if (is_time(*type_)) {
      const bool is_short = arrow::bit_width(type_->id()) == 32;
      return arrow_ok((is_short ? arrow_ok(arrow::compute::Cast(*array, arrow::int32())) : array)->View(type_));
    }
    return array->type()->Equals(type_) ? array : arrow_ok(arrow::compute::Cast(*array, type_));
  }

  std::shared_ptr<arrow::DataType> type_;
  std::string column_;
  bool sums_;
  bool means_;  // of integers: apart, since their sum may be larger than 64 bits
  bool bounds_;
  bool moments_;
  std::vector<std::int64_t> count_;
  std::vector<T> sum_;
  std::vector<double> real_sum_;
  std::vector<T> min_;
  std::vector<T> max_;
  std::vector<double> mean_;
  std::vector<double> square_;  // the sum of squares of differences from the mean
};

/// Of any column: how many values there are.
class CountAccumulator final : public Accumulator {
 public:
  void resize(std::size_t groups) override { count_.resize(groups); }
  void add(const arrow::Array& values, std::span<const std::uint32_t> groups) override {
    for (std::int64_t i = 0; i < values.length(); ++i) {
      count_[groups[static_cast<std::size_t>(i)]] += values.IsValid(i) ? 1 : 0;
    }
  }
  void merge(const Accumulator& other, std::span<const std::uint32_t> groups) override {
    const auto& from = static_cast<const CountAccumulator&>(other);
    for (std::size_t i = 0; i < groups.size(); ++i) count_[groups[i]] += from.count_[i];
  }
  std::shared_ptr<arrow::Array> finish(Aggregate /*aggregate*/) const override {
    arrow::Int64Builder builder;
    arrow_ok(builder.AppendValues(count_));
    return arrow_ok(builder.Finish());
  }

 private:
  std::vector<std::int64_t> count_;
};

}  // namespace

std::shared_ptr<arrow::DataType> type_of(Aggregate aggregate, const arrow::Field& column) {
  const auto& type = column.type();
  if (aggregate == Aggregate::count) return arrow::int64();
  const bool is_bound = aggregate == Aggregate::min || aggregate == Aggregate::max;
  require(is_number(*type) || (is_bound && is_time(*type)), "the column '{}' has no {}: it is {}", column.name(),
          name_of(aggregate), type->ToString());
  if (is_bound) return type;
  return aggregate == Aggregate::sum ? widest(*type) : arrow::float64();
}

std::shared_ptr<arrow::Array> to_accumulate(const std::shared_ptr<arrow::Array>& column) {
  const arrow::DataType& type = *column->type();
  if (is_time(type)) {
    const bool is_short = arrow::bit_width(type.id()) == 32;
    const auto numbers = arrow_ok(column->View(is_short ? arrow::int32() : arrow::int64()));
    return is_short ? arrow_ok(arrow::compute::Cast(*numbers, arrow::int64())) : numbers;
  }
  if (!is_number(type)) return column;
  const auto wanted = widest(type);
  return type.Equals(wanted) ? column : arrow_ok(arrow::compute::Cast(*column, wanted));
}

std::unique_ptr<Accumulator> make_accumulator(const std::shared_ptr<arrow::DataType>& type,
                                              const std::vector<Aggregate>& aggregates, const std::string& column) {
  if (!is_number(*type) && !is_time(*type)) return std::make_unique<CountAccumulator>();
  if (arrow::is_floating(type->id())) return std::make_unique<NumberAccumulator<double>>(type, aggregates, column);
  if (type->id() == arrow::Type::UINT64) {
    return std::make_unique<NumberAccumulator<std::uint64_t>>(type, aggregates, column);
  }
  return std::make_unique<NumberAccumulator<std::int64_t>>(type, aggregates, column);
}

}  // namespace hogpen::detail
