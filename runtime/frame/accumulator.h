#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/frame/frame.h"

namespace hogpen::detail {

/// What has been summed up of a column, for each group: first of a chunk's rows, and then of chunks.
///
/// Sharing: one thread. Owns: a few numbers a group.
class Accumulator {
 public:
  virtual ~Accumulator() = default;

  /// Makes place for so many groups.
  virtual void resize(std::size_t groups) = 0;
  /// Adds row i to group groups[i]; once. `values` are what `to_accumulate` makes. Throws: UsageError when a sum is too
  /// large.
  virtual void add(const arrow::Array& values, std::span<const std::uint32_t> groups) = 0;
  /// Adds the other's group i to group groups[i]. Throws: as above.
  virtual void merge(const Accumulator& other, std::span<const std::uint32_t> groups) = 0;
  /// One value for each group.
  [[nodiscard]] virtual std::shared_ptr<arrow::Array> finish(Aggregate aggregate) const = 0;
};

/// The type of the result. Throws: UsageError for an aggregate that such a column has not.
[[nodiscard]] std::shared_ptr<arrow::DataType> type_of(Aggregate aggregate, const arrow::Field& column);

/// A column as accumulators take it: numbers and times as int64 or float64.
[[nodiscard]] std::shared_ptr<arrow::Array> to_accumulate(const std::shared_ptr<arrow::Array>& column);

/// An accumulator for these aggregates of such a column.
[[nodiscard]] std::unique_ptr<Accumulator> make_accumulator(const std::shared_ptr<arrow::DataType>& type,
                                                            const std::vector<Aggregate>& aggregates,
                                                            const std::string& column);

}  // namespace hogpen::detail
