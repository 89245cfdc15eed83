#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hogpen::detail {

/// Throws: UsageError, which says that such a column is no tensor.
[[noreturn]] void refuse_type(const arrow::Field& column);
/// Throws: UsageError for a missing value, with its row. `first_row`: of these values in their Frame.
void check_no_nulls(const arrow::Array& values, const std::string& column, std::int64_t first_row);

/// Throws: UsageError for a column that is not there, or that has neither numbers nor true and false.
void check_are_numbers(const arrow::Schema& schema, const std::vector<std::string>& columns);

/// Writes columns of numbers of a chunk side by side, as float32. Shape of `to`: [rows of the chunk, columns].
/// `first_row`: of the chunk in its Frame. `origin`: what each column's values lose before they are rounded; empty:
/// nothing.
///
/// Throws: as check_no_nulls.
void write_rows(const arrow::RecordBatch& chunk, const std::vector<std::string>& columns, std::int64_t first_row,
                float* to, std::span<const double> origin = {});

/// Columns of numbers side by side, as float32, of chunks that come one after the other.
///
/// Sharing: one thread at a time. Owns: the numbers.
class RowBlocks {
 public:
  /// Of a large number with small differences, as a time, float32 keeps little: with `first_row`, each number is the
  /// difference to the first one of its column.
  enum class Origin { zero, first_row };

  /// Throws: as check_are_numbers.
  RowBlocks(const arrow::Schema& schema, std::vector<std::string> columns, Origin origin = Origin::zero);

  /// Throws: as write_rows.
  void append(const arrow::RecordBatch& chunk);
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  /// What to add to each column's numbers; empty: nothing.
  [[nodiscard]] const std::vector<double>& origin() const noexcept { return origin_; }

  /// Calls f(std::span<const float>) with the rows of each chunk.
  template <class F>
  void for_each(const F& f) const {
    for (const Block& block : blocks_) f(std::span<const float>(block.values.get(), block.size));
  }
  /// The same for the last time: the memory of each is freed after it.
  template <class F>
  void consume(const F& f) {
    for (Block& block : blocks_) {
      f(std::span<const float>(block.values.get(), block.size));
      block.values.reset();
    }
    blocks_.clear();
  }

 private:
  struct Block {
    std::unique_ptr<float[]> values;
    std::size_t size = 0;
  };

  std::vector<std::string> columns_;
  bool has_origin_;
  std::vector<double> origin_;  // empty until the first row has come
  std::vector<Block> blocks_;
  std::int64_t rows_ = 0;
};

}  // namespace hogpen::detail
