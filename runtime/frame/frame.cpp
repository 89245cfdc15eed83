#include "runtime/frame/frame.h"

#include <arrow/compute/initialize.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/computation.h"
#include "runtime/frame/csv_source.h"
#include "runtime/frame/operations.h"
#include "runtime/frame/table_file.h"
#include "runtime/frame/types.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// To be called before anything of Arrow's.
void prepare_arrow() {
  static const bool is_ready = [] {
    // Arrow chooses when it first allocates. jemalloc keeps less of what was freed than mimalloc, its default.
    ::setenv("ARROW_DEFAULT_MEMORY_POOL", "jemalloc", 0);
    detail::arrow_ok(arrow::compute::Initialize());  // Functions are found by their names once they are registered.
    return true;
  }();
  (void)is_ready;
}

/// Throws: UsageError when there is none.
std::vector<fs::path> files_of(const std::string& pattern) {
  struct ::stat status{};
  const int trouble = ::stat(pattern.c_str(), &status) == 0 ? 0 : errno;
  if (trouble == 0 && S_ISDIR(status.st_mode)) throw SystemError(fmt::format("open {}", pattern), EISDIR);
  if (trouble == 0) return {pattern};  // Its name may look like a pattern.
  ::glob_t found{};
  const int result = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<fs::path> files;
  if (result == 0) files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (files.empty()) throw SystemError(fmt::format("open {}", pattern), trouble);
  return files;
}

struct NamedAggregate {
  const char* name;
  Aggregate aggregate;
};
constexpr std::array<NamedAggregate, 6> kAggregates = {{{"sum", Aggregate::sum},
                                                        {"mean", Aggregate::mean},
                                                        {"min", Aggregate::min},
                                                        {"max", Aggregate::max},
                                                        {"count", Aggregate::count},
                                                        {"std", Aggregate::std}}};

}  // namespace

const char* name_of(Aggregate aggregate) noexcept {
  return std::ranges::find_if(kAggregates, [&](const auto& one) { return one.aggregate == aggregate; })->name;
}

Aggregate aggregate_named(const std::string& name) {
  const auto* const found = std::ranges::find_if(kAggregates, [&](const auto& one) { return one.name == name; });
  require(found != kAggregates.end(), "there is no aggregate '{}': there are sum, mean, min, max, count and std", name);
  return found->aggregate;
}

Frame Frame::read_csv(const std::string& pattern, const CsvOptions& options) {
  prepare_arrow();
  return Frame(detail::csv_source(files_of(pattern), options));
}
Frame Frame::read_parquet(const std::string& pattern) {
  prepare_arrow();
  return Frame(detail::parquet_source(files_of(pattern)));
}
Frame Frame::read_ipc(const std::string& pattern) {
  prepare_arrow();
  return Frame(detail::ipc_source(files_of(pattern)));
}
Frame Frame::read(const std::string& pattern) {
  const std::optional<TableFile> kind = table_file_named(pattern);
  if (kind == TableFile::csv) return read_csv(pattern);
  if (kind == TableFile::tsv) return read_csv(pattern, {.delimiter = '\t'});
  if (kind == TableFile::parquet) return read_parquet(pattern);
  if (kind == TableFile::ipc) return read_ipc(pattern);
  throw UsageError(fmt::format("{} ends in none of .csv, .tsv (or .gz), .parquet, .arrow, .feather", pattern));
}
Frame Frame::from_table(std::shared_ptr<arrow::Table> table) {
  prepare_arrow();
  return Frame(detail::table_source(std::move(table)));
}

std::vector<std::string> Frame::columns() const {
  return schema()->field_names();
}
const std::shared_ptr<arrow::Schema>& Frame::schema() const noexcept {
  return plan_->schema();
}

Frame Frame::select(const std::vector<std::string>& columns) const {
  return Frame(detail::select_plan(plan_, columns));
}
Frame Frame::filter(const Expr& condition) const {
  return Frame(detail::filter_plan(plan_, condition));
}
Frame Frame::with_column(const std::string& name, const Expr& value) const {
  return Frame(detail::column_plan(plan_, name, value));
}
Frame Frame::rename(const std::map<std::string, std::string>& names) const {
  return Frame(detail::rename_plan(plan_, names));
}
Frame::Groups Frame::groupby(const std::vector<std::string>& keys) const {
  return {*this, keys};
}
Frame Frame::merge(const Frame& right, const std::vector<std::string>& on, How how) const {
  return Frame(detail::merge_plan(plan_, right.plan_, on, how));
}
Frame Frame::sort(const std::vector<SortKey>& keys) const {
  return Frame(detail::sort_plan(plan_, keys));
}
Frame Frame::head(std::int64_t rows) const {
  return Frame(detail::head_plan(plan_, rows));
}
Frame Frame::Groups::agg(const std::vector<AggregateOf>& aggregates) const {
  return Frame(detail::groups_plan(frame_.plan_, keys_, aggregates));
}

void detail::for_each_chunk(const Plan& plan, const FrameOptions& options, bool keeps_chunks,
                            const std::function<void(const arrow::RecordBatch&)>& visit) {
  Computation computation(plan, options, keeps_chunks);
  const auto chunks = computation.run().open(plan);
  computation.run().for_each(*chunks, [&](const Batch& chunk) {
    visit(*in_order_of(*plan.schema(), *chunk));
    return true;
  });
}

void Frame::for_each_chunk(const std::function<void(const arrow::RecordBatch&)>& visit,
                           const FrameOptions& options) const {
  detail::for_each_chunk(*plan_, options, false, visit);
}

std::shared_ptr<arrow::Table> Frame::compute(const FrameOptions& options) const {
  detail::Computation computation(*plan_, options, plan_->has_all_rows());
  const auto table = computation.run().collect(*plan_);
  return detail::arrow_ok(table->SelectColumns(detail::indices_of_columns(*table->schema(), columns())));
}

}  // namespace hogpen
