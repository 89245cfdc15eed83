#include "runtime/frame/rows_by_key.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>

#include <utility>

#include "runtime/frame/arrow_error.h"
#include "runtime/frame/keys.h"

namespace hogpen::detail {

namespace cp = arrow::compute;

RowsByKey::RowsByKey(Batch rows, std::vector<std::string> keys, bool notes_found)
    : rows_(std::move(rows)), keys_(std::move(keys)), key_types_(types_of(*rows_->schema(), keys_)) {
  std::unique_ptr<cp::Grouper> grouper = arrow_ok(cp::Grouper::Make(key_types_));
  const KeyColumns columns(*rows_, keys_);
  const auto groups = arrow_ok(grouper->Consume(columns.span())).make_array();
  const std::span<const std::uint32_t> of_row = numbers_in(*groups);
  begins_.assign(grouper->num_groups() + 1, 0);
  for (const std::uint32_t group : of_row) ++begins_[group + 1];
  for (std::size_t group = 1; group < begins_.size(); ++group) begins_[group] += begins_[group - 1];
  std::vector<std::int64_t> next(begins_.begin(), begins_.end() - 1);
  in_groups_.resize(of_row.size());
  for (std::size_t row = 0; row < of_row.size(); ++row) {
    in_groups_[static_cast<std::size_t>(next[of_row[row]]++)] = static_cast<std::int64_t>(row);
  }
  are_unique_ = static_cast<std::size_t>(grouper->num_groups()) == of_row.size();
  if (notes_found) found_ = std::vector<std::atomic<bool>>(grouper->num_groups());
  spare_.push_back(std::move(grouper));
}

RowsByKey::Matches RowsByKey::find(const arrow::RecordBatch& left, bool keeps_all) {
  std::unique_ptr<cp::Grouper> grouper = take_grouper();
  const KeyColumns columns(left, keys_);
  const auto groups = arrow_ok(grouper->Lookup(columns.span())).make_array();
  give_back(std::move(grouper));
  note_found(*groups);
  if (are_unique_ && (keeps_all || groups->null_count() == 0)) return {nullptr, rows_of(*groups)};
  return pairs(*groups, keeps_all);
}

std::shared_ptr<arrow::Array> RowsByKey::not_found() const {
  std::vector<bool> is_found(in_groups_.size());
  for (std::size_t group = 0; group < found_.size(); ++group) {
    if (!found_[group].load(std::memory_order_relaxed)) continue;
    for (std::int64_t i = begins_[group]; i < begins_[group + 1]; ++i) {
      is_found[static_cast<std::size_t>(in_groups_[static_cast<std::size_t>(i)])] = true;
    }
  }
  arrow::Int64Builder left_over;
  for (std::size_t row = 0; row < is_found.size(); ++row) {
    if (!is_found[row]) arrow_ok(left_over.Append(static_cast<std::int64_t>(row)));
  }
  return arrow_ok(left_over.Finish());
}

// A Grouper is of one thread at a time, so there are as many as threads look for something at once.
std::unique_ptr<cp::Grouper> RowsByKey::take_grouper() {
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      std::unique_ptr<cp::Grouper> grouper = std::move(spare_.back());
      spare_.pop_back();
      return grouper;
    }
  }
  std::unique_ptr<cp::Grouper> grouper = arrow_ok(cp::Grouper::Make(key_types_));
  const KeyColumns columns(*rows_, keys_);
  arrow_ok(grouper->Populate(columns.span()));
  return grouper;
}
void RowsByKey::give_back(std::unique_ptr<cp::Grouper> grouper) {
  const std::lock_guard lock(mutex_);
  spare_.push_back(std::move(grouper));
}

void RowsByKey::note_found(const arrow::Array& groups) {
  if (found_.empty()) return;
  const auto numbers = numbers_in(groups);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    // Relaxed: they are read when all threads are done.
    if (groups.IsValid(static_cast<std::int64_t>(i))) found_[numbers[i]].store(true, std::memory_order_relaxed);
  }
}

/// Where each group has one row.
std::shared_ptr<arrow::Array> RowsByKey::rows_of(const arrow::Array& groups) const {
  arrow::Int64Builder rows;
  arrow_ok(rows.Reserve(groups.length()));
  const auto numbers = numbers_in(groups);
  const bool has_nulls = groups.null_count() != 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (has_nulls && groups.IsNull(static_cast<std::int64_t>(i))) {
      rows.UnsafeAppendNull();
    } else {
      rows.UnsafeAppend(in_groups_[static_cast<std::size_t>(begins_[numbers[i]])]);
    }
  }
  return arrow_ok(rows.Finish());
}

RowsByKey::Matches RowsByKey::pairs(const arrow::Array& groups, bool keeps_all) const {
  arrow::Int64Builder left;
  arrow::Int64Builder right;
  const auto numbers = numbers_in(groups);
  for (std::int64_t row = 0; row < groups.length(); ++row) {
    if (groups.IsNull(row)) {
      if (keeps_all) arrow_ok(left.Append(row));
      if (keeps_all) arrow_ok(right.AppendNull());
      continue;
    }
    const std::uint32_t group = numbers[static_cast<std::size_t>(row)];
    for (std::int64_t i = begins_[group]; i < begins_[group + 1]; ++i) {
      arrow_ok(left.Append(row));
      arrow_ok(right.Append(in_groups_[static_cast<std::size_t>(i)]));
    }
  }
  return {arrow_ok(left.Finish()), arrow_ok(right.Finish())};
}

}  // namespace hogpen::detail
