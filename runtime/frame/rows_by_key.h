#pragma once

#include <arrow/compute/row/grouper.h>
#include <arrow/type_fwd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/frame/plan.h"

namespace hogpen::detail {

/// The rows of a table by their keys. Nulls are a key, too.
///
/// Sharing: any threads. Owns: the rows.
class RowsByKey {
 public:
  /// With `notes_found` it remembers which rows were found.
  RowsByKey(Batch rows, std::vector<std::string> keys, bool notes_found);

  /// Pairs of rows: of a chunk, and of these.
  struct Matches {
    std::shared_ptr<arrow::Array> left;   ///< null: each row of the chunk, once
    std::shared_ptr<arrow::Array> right;  ///< a null for a row of the chunk that found none, where all are kept
  };
  [[nodiscard]] Matches find(const arrow::RecordBatch& left, bool keeps_all);

  /// The rows that nothing has found. Requires: `notes_found`; nobody looks any more.
  [[nodiscard]] std::shared_ptr<arrow::Array> not_found() const;
  [[nodiscard]] const arrow::RecordBatch& rows() const noexcept { return *rows_; }

 private:
  [[nodiscard]] std::unique_ptr<arrow::compute::Grouper> take_grouper();
  void give_back(std::unique_ptr<arrow::compute::Grouper> grouper);
  void note_found(const arrow::Array& groups);
  [[nodiscard]] std::shared_ptr<arrow::Array> rows_of(const arrow::Array& groups) const;
  [[nodiscard]] Matches pairs(const arrow::Array& groups, bool keeps_all) const;

  Batch rows_;
  std::vector<std::string> keys_;
  std::vector<arrow::TypeHolder> key_types_;
  std::vector<std::int64_t> begins_;     // of groups, in `in_groups_`
  std::vector<std::int64_t> in_groups_;  // rows, group by group
  bool are_unique_ = false;
  std::vector<std::atomic<bool>> found_;  // by group
  std::mutex mutex_;
  std::vector<std::unique_ptr<arrow::compute::Grouper>> spare_;
};

}  // namespace hogpen::detail
