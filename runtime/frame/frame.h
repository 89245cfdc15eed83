#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/unary_op.h"
#include "runtime/frame/aggregate.h"
#include "runtime/frame/csv.h"
#include "runtime/frame/expression.h"
#include "runtime/work/executor.h"

namespace arrow {
class RecordBatch;
class Schema;
class Table;
}  // namespace arrow
namespace at {
class Tensor;  // <ATen/core/Tensor.h>, for who calls to_tensor
}

namespace hogpen {

namespace detail {
class Plan;
}

/// How far a computation is: bytes of its files. One that reads a file twice counts it twice.
struct FrameProgress {
  std::uint64_t bytes = 0;
  std::uint64_t total_bytes = 0;  ///< of all that has been opened
};

/// How a Frame is computed.
struct FrameOptions {
  Executor* executor = nullptr;  ///< whose threads do it; none: as many as `default_workers()`
  /// Called after each chunk, by one thread at a time. What it throws ends the computation, and comes out of it.
  std::function<void(const FrameProgress&)> on_progress = {};
};

/// A table that is computed when it is needed: columns with names, in chunks of rows. pandas' and Dask's DataFrame, on
/// Apache Arrow.
///
/// Operations are noted, not done: `compute`, `for_each_chunk`, `to_tensor` and `write_…` do them, chunk by chunk, on
/// the threads of an Executor. No more than a few chunks are in memory, but for what `compute` returns, groups, the
/// right side of a merge, and what is sorted.
///
/// Errors: a column that does not exist is a UsageError when the operation is noted. All others come when it is done.
/// Results do not depend on the number of threads: sums are added chunk by chunk, in the order of the rows.
/// Sharing: immutable; a copy is another handle.
class Frame {
 public:
  class Groups;

  /// Throws: as detail::csv_source. `pattern` is a file, or a pattern as of a shell ("day-*.csv"), whose files are read
  /// in the order of their names.
  [[nodiscard]] static Frame read_csv(const std::string& pattern, const CsvOptions& options = {});
  /// Row group by row group. Throws: FormatError for a damaged file.
  [[nodiscard]] static Frame read_parquet(const std::string& pattern);
  /// An Arrow IPC file (Feather V2), batch by batch: mapped, not copied, if it is not compressed.
  [[nodiscard]] static Frame read_ipc(const std::string& pattern);
  /// By the ends of the names: .csv, .csv.gz, .tsv, .parquet, .arrow, .feather.
  [[nodiscard]] static Frame read(const std::string& pattern);
  [[nodiscard]] static Frame from_table(std::shared_ptr<arrow::Table> table);

  [[nodiscard]] std::vector<std::string> columns() const;
  [[nodiscard]] const std::shared_ptr<arrow::Schema>& schema() const noexcept;

  [[nodiscard]] Frame select(const std::vector<std::string>& columns) const;
  /// The rows for which it is true.
  [[nodiscard]] Frame filter(const Expr& condition) const;
  /// With a column that is computed; one of that name is replaced.
  [[nodiscard]] Frame with_column(const std::string& name, const Expr& value) const;
  /// `names`: new ones by old ones.
  [[nodiscard]] Frame rename(const std::map<std::string, std::string>& names) const;
  /// A column of float32 or float64, or of integers, which become float64: each number by one of the elementwise
  /// kernels.
  [[nodiscard]] Frame map(const std::string& column, kernels::UnaryOp op) const;
  [[nodiscard]] Groups groupby(const std::vector<std::string>& keys) const;
  /// Each row with the rows of `right` that have the same keys, in the order of the rows here; for `right` in the order
  /// there, for `outer` with those of `right` that found none at the end. Nulls are the same key. Other columns of both
  /// names get the suffixes _x and _y. `right` is held in memory.
  [[nodiscard]] Frame merge(const Frame& right, const std::vector<std::string>& on, How how = How::inner) const;
  /// Nulls last; rows of equal keys stay in their order. Held in memory.
  [[nodiscard]] Frame sort(const std::vector<SortKey>& keys) const;
  /// The first rows. No more is read than they need.
  [[nodiscard]] Frame head(std::int64_t rows = 5) const;
  /// The same Frame: rows have no labels here. For who comes from pandas.
  [[nodiscard]] Frame reset_index() const { return *this; }

  [[nodiscard]] std::shared_ptr<arrow::Table> compute(const FrameOptions& options = {}) const;
  /// Each chunk of rows, in their order: by one thread at a time, not always the same. What `visit` throws ends it, and
  /// comes out of it.
  void for_each_chunk(const std::function<void(const arrow::RecordBatch&)>& visit,
                      const FrameOptions& options = {}) const;
  /// A column as a tensor. Shape: [rows]. Dtypes: float32, float64, int8 to int64, uint8, as the column's. Owns: the
  /// column's memory, which is not copied where it is one chunk.
  ///
  /// Throws: UsageError for a column of another type, or one with nulls.
  [[nodiscard]] at::Tensor to_tensor(const std::string& column, const FrameOptions& options = {}) const;
  /// Columns of numbers side by side. Shape: [rows, columns]. Dtype: float32.
  [[nodiscard]] at::Tensor to_tensor(const std::vector<std::string>& columns, const FrameOptions& options = {}) const;
  /// The same into a tensor that is there, of an Arena for example, which processes share: chunk by chunk. Throws:
  /// UsageError, too, for one of another shape or dtype, or with gaps; what fitted may have been written then.
  void write_tensor(const std::vector<std::string>& columns, const at::Tensor& out,
                    const FrameOptions& options = {}) const;
  /// Both: the file appears when it is whole, in the place of an old one. Throws: SystemError when it cannot be
  /// written.
  void write_csv(const std::filesystem::path& file, const FrameOptions& options = {}) const;
  void write_parquet(const std::filesystem::path& file, const FrameOptions& options = {}) const;

  explicit Frame(std::shared_ptr<const detail::Plan> plan) : plan_(std::move(plan)) {}
  [[nodiscard]] const std::shared_ptr<const detail::Plan>& plan() const noexcept { return plan_; }

 private:
  std::shared_ptr<const detail::Plan> plan_;
};

/// The rows of a Frame that have the same keys.
class Frame::Groups {
 public:
  Groups(Frame frame, std::vector<std::string> keys) : frame_(std::move(frame)), keys_(std::move(keys)) {}

  /// A row for each group, sorted by the keys: these, and what was asked for. Rows with a null among their keys are in
  /// no group, as in pandas.
  ///
  /// Types: count is int64; sums of integers are int64 (of uint64: uint64), and an error when they are larger; mean and
  /// std (of a sample: divided by n - 1) are float64; minimum and maximum are the column's own. Throws: UsageError for
  /// a column that is no number.
  [[nodiscard]] Frame agg(const std::vector<AggregateOf>& aggregates) const;

 private:
  Frame frame_;
  std::vector<std::string> keys_;
};

}  // namespace hogpen
