#pragma once

#include <string>

// What Frame's operations are told.
namespace hogpen {

enum class How { inner, left, right, outer };

/// How a column is summed up in a group. Nulls are left out; NaN makes sum, mean and std NaN, and is no minimum.
enum class Aggregate { sum, mean, min, max, count, std };
[[nodiscard]] const char* name_of(Aggregate aggregate) noexcept;
/// Throws: UsageError for another name.
[[nodiscard]] Aggregate aggregate_named(const std::string& name);

struct AggregateOf {
  std::string column;
  Aggregate aggregate = Aggregate::sum;
  std::string name = {};  ///< of the result; empty: "column_aggregate"
};

struct SortKey {
  std::string column;
  bool is_descending = false;
};

}  // namespace hogpen
