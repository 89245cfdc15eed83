#include "runtime/frame/frame.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/initialize.h>
#include <arrow/table.h>
#include <glob.h>
#include <stdlib.h>

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
  std::error_code error;
  if (fs::exists(pattern, error)) return {pattern};  // Its name may look like a pattern.
  ::glob_t found{};
  const int result = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<fs::path> files;
  if (result == 0) files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (files.empty()) throw SystemError(fmt::format("open {}", pattern), ENOENT);
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

c10::ScalarType dtype_of(const arrow::Field& column) {
  switch (column.type()->id()) {
    case arrow::Type::FLOAT:
      return c10::ScalarType::Float;
    case arrow::Type::DOUBLE:
      return c10::ScalarType::Double;
    case arrow::Type::INT8:
      return c10::ScalarType::Char;
    case arrow::Type::INT16:
      return c10::ScalarType::Short;
    case arrow::Type::INT32:
      return c10::ScalarType::Int;
    case arrow::Type::INT64:
      return c10::ScalarType::Long;
    case arrow::Type::UINT8:
      return c10::ScalarType::Byte;
    default:
      throw UsageError(
          fmt::format("the column '{}' cannot be a tensor: it is {}", column.name(), column.type()->ToString()),
          "cast it, with with_column");
  }
}

void check_no_nulls(const arrow::ChunkedArray& column, const std::string& name) {
  if (column.null_count() == 0) return;
  throw UsageError(
      fmt::format("the column '{}' has {} missing values, which a tensor cannot have", name, column.null_count()),
      "filter them out, or compute something for them (coalesce)");
}

/// Writes a column of numbers as one of the matrix [rows, columns].
void write_column(const arrow::ChunkedArray& column, float* to, std::int64_t columns) {
  for (const auto& chunk : column.chunks()) {
    const auto numbers =
        detail::arrow_ok(arrow::compute::Cast(*chunk, arrow::float32(), arrow::compute::CastOptions::Unsafe()));
    const float* const from = numbers->data()->GetValues<float>(1);
    for (std::int64_t row = 0; row < numbers->length(); ++row, to += columns) *to = from[row];
  }
}

/// The columns of a table side by side.
void write_columns(const arrow::Table& table, const at::Tensor& matrix) {
  for (int i = 0; i < table.num_columns(); ++i) {
    (void)dtype_of(*table.schema()->field(i));
    check_no_nulls(*table.column(i), table.schema()->field(i)->name());
    write_column(*table.column(i), static_cast<float*>(matrix.mutable_data_ptr()) + i, table.num_columns());
  }
}

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
Frame Frame::map(const std::string& column, kernels::UnaryOp op) const {
  return Frame(detail::map_plan(plan_, column, op));
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

std::shared_ptr<arrow::Table> Frame::compute(const FrameOptions& options) const {
  detail::Computation computation(*plan_, options, true);
  const auto table = computation.run().collect(*plan_);
  return detail::arrow_ok(table->SelectColumns(detail::indices_of_columns(*table->schema(), columns())));
}

at::Tensor Frame::to_tensor(const std::string& column, const FrameOptions& options) const {
  const auto table = select({column}).compute(options);
  const auto& field = table->schema()->field(0);
  const c10::ScalarType dtype = dtype_of(*field);
  const auto& chunks = table->column(0);
  check_no_nulls(*chunks, column);
  if (chunks->length() == 0) return at::empty({0}, dtype);
  const auto array =
      chunks->num_chunks() == 1 ? chunks->chunk(0) : detail::arrow_ok(arrow::Concatenate(chunks->chunks()));
  const auto width = static_cast<std::int64_t>(c10::elementSize(dtype));
  auto* const data = const_cast<std::uint8_t*>(array->data()->buffers[1]->data() + array->offset() * width);
  return at::from_blob(data, {array->length()}, [array](void*) {}, at::TensorOptions(dtype));
}

at::Tensor Frame::to_tensor(const std::vector<std::string>& columns, const FrameOptions& options) const {
  const auto table = select(columns).compute(options);
  const at::Tensor matrix = at::empty({table->num_rows(), table->num_columns()}, c10::ScalarType::Float);
  write_columns(*table, matrix);
  return matrix;
}

void Frame::write_tensor(const std::vector<std::string>& columns, const at::Tensor& out,
                         const FrameOptions& options) const {
  const auto table = select(columns).compute(options);
  const auto width = static_cast<std::int64_t>(columns.size());
  require(out.scalar_type() == c10::ScalarType::Float && out.is_contiguous() && out.is_cpu() &&
              out.sizes() == c10::IntArrayRef({table->num_rows(), width}),
          "the tensor must be float32 of shape [{}, {}] on the CPU, without gaps", table->num_rows(), width);
  write_columns(*table, out);
}

}  // namespace hogpen
