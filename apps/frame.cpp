#include "runtime/frame/frame.h"

#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/cli.h"
#include "apps/frame_progress.h"
#include "apps/output.h"
#include "apps/stopped.h"
#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/table_file.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFrameFooter = R"text(Examples:
  hogpen frame big.csv --head                             the first five rows
  hogpen frame big.csv --groupby key --agg value:sum,mean
  hogpen frame big.csv --groupby key --agg value:sum,mean --merge-back --head 5
  hogpen frame 'day-*.csv.gz' --select time,price -o prices.parquet
  hogpen frame prices.parquet --sort price:desc --head 20 --json

Files:
  .csv, .tsv (also .gz), .parquet, .arrow, .feather; a pattern of a shell, in quotes, stands for all of its files.
  A CSV file's types are inferred from its first rows; a later value that does not fit is an error that names its
  row and column. An empty field is a missing value.
  The operations are done in this order: select, groupby, merge-back, sort, head. Files may be larger than the
  memory; groups, what is sorted, and what is printed are held in it.
  -o replaces its file as a whole when all is done.

Exit codes:
  0 done   1 failed   2 wrong usage or data   130, 143 stopped by SIGINT, SIGTERM)text";

struct FrameArguments {
  std::string file;
  std::vector<std::string> select;
  std::vector<std::string> groupby;
  std::vector<std::string> agg;
  bool merge_back = false;
  std::vector<std::string> sort;
  std::optional<std::int64_t> head;
  std::optional<std::string> out;
  std::vector<std::string> types;
  std::optional<std::string> delimiter;
  bool no_header = false;
  std::int64_t chunk_rows = CsvOptions().chunk_rows;
  int threads = default_workers();
  bool json = false;
  bool quiet = false;
};

/// "name:rest" in its two parts; all is the name where there is no colon.
std::pair<std::string, std::string> split_at(const std::string& text, char separator) {
  const std::size_t place = text.rfind(separator);
  if (place == std::string::npos) return {text, ""};
  return {text.substr(0, place), text.substr(place + 1)};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

CsvOptions csv_options(const FrameArguments& arguments) {
  CsvOptions options;
  options.chunk_rows = arguments.chunk_rows;
  options.has_header = !arguments.no_header;
  if (table_file_named(arguments.file) == TableFile::tsv) options.delimiter = '\t';
  if (arguments.delimiter) {
    const std::string text = *arguments.delimiter == "\\t" ? "\t" : *arguments.delimiter;
    require(text.size() == 1, "--delimiter is one character, but is '{}'", text);
    options.delimiter = text[0];
  }
  for (const std::string& type : arguments.types) {
    const auto [column, name] = split_at(type, '=');
    require(!name.empty(), "--type is COLUMN=TYPE, but is '{}'", type);
    options.types[column] = name;
  }
  return options;
}

Frame open_frame(const FrameArguments& arguments) {
  const std::optional<TableFile> kind = table_file_named(arguments.file);
  if (kind == TableFile::csv || kind == TableFile::tsv || arguments.delimiter) {
    return Frame::read_csv(arguments.file, csv_options(arguments));
  }
  require(arguments.types.empty() && !arguments.no_header, "--type and --no-header are for CSV files, but {} is none",
          arguments.file);
  return Frame::read(arguments.file);
}

std::vector<AggregateOf> aggregates_of(const FrameArguments& arguments) {
  std::vector<AggregateOf> all;
  for (const std::string& text : arguments.agg) {
    const auto [column, names] = split_at(text, ':');
    require(!names.empty(), "--agg is COLUMN:AGGREGATE,…, but is '{}'", text);
    for (const std::string& name : split(names, ','))
      all.push_back({.column = column, .aggregate = aggregate_named(name)});
  }
  return all;
}

Frame planned(const FrameArguments& arguments) {
  Frame frame = open_frame(arguments);
  if (!arguments.select.empty()) frame = frame.select(arguments.select);
  require(arguments.groupby.empty() == arguments.agg.empty(), "--groupby and --agg need each other");
  require(!arguments.merge_back || !arguments.groupby.empty(), "--merge-back needs --groupby");
  if (!arguments.groupby.empty()) {
    const Frame groups = frame.groupby(arguments.groupby).agg(aggregates_of(arguments));
    frame = arguments.merge_back ? frame.merge(groups, arguments.groupby, How::left) : groups;
  }
  std::vector<SortKey> keys;
  for (const std::string& text : arguments.sort) {
    const auto [column, order] = split_at(text, ':');
    require(order.empty() || order == "asc" || order == "desc", "--sort is COLUMN or COLUMN:desc, but is '{}'", text);
    keys.push_back({.column = column, .is_descending = order == "desc"});
  }
  if (!keys.empty()) frame = frame.sort(keys);
  return arguments.head ? frame.head(*arguments.head) : frame;
}

nlohmann::json to_json(const arrow::Scalar& value) {
  if (!value.is_valid) return nullptr;
  const auto as = [&](auto like) {
    using Scalar = decltype(like);
    return static_cast<const Scalar&>(*detail::arrow_ok(value.CastTo(like.type))).value;
  };
  const auto type = value.type->id();
  if (arrow::is_unsigned_integer(type)) return as(arrow::UInt64Scalar(0));
  if (arrow::is_signed_integer(type)) return as(arrow::Int64Scalar(0));
  if (arrow::is_floating(type)) return as(arrow::DoubleScalar(0));
  if (type == arrow::Type::BOOL) return static_cast<const arrow::BooleanScalar&>(value).value;
  return value.ToString();
}

std::string to_text(const arrow::Scalar& value) {
  return value.is_valid ? value.ToString() : "";
}

/// Calls f(row, column, scalar) for each cell.
template <class F>
void for_each_cell(const arrow::Table& table, const F& f) {
  for (std::int64_t row = 0; row < table.num_rows(); ++row) {
    for (int column = 0; column < table.num_columns(); ++column) {
      f(row, column, **table.column(column)->GetScalar(row));
    }
  }
}

std::string as_json(const arrow::Table& table) {
  nlohmann::json rows = nlohmann::json::array();
  for_each_cell(table, [&](std::int64_t row, int, const arrow::Scalar& value) {
    if (static_cast<std::int64_t>(rows.size()) == row) rows.push_back(nlohmann::json::array());
    rows.back().push_back(to_json(value));
  });
  return nlohmann::json{{"columns", table.schema()->field_names()}, {"rows", rows}}.dump() + "\n";
}

/// Columns below each other; numbers to the right.
std::string as_table(const arrow::Table& table) {
  const auto columns = static_cast<std::size_t>(table.num_columns());
  std::vector<std::vector<std::string>> rows = {table.schema()->field_names()};
  for_each_cell(table, [&](std::int64_t row, int, const arrow::Scalar& value) {
    if (static_cast<std::int64_t>(rows.size()) == row + 1) rows.emplace_back();
    rows.back().push_back(to_text(value));
  });
  std::vector<std::size_t> widths(columns);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns; ++i) {
      const auto& type = *table.schema()->field(static_cast<int>(i))->type();
      const bool is_number = arrow::is_integer(type.id()) || arrow::is_floating(type.id());
      const std::string gap = i == 0 ? "" : "  ";
      text += is_number ? fmt::format("{}{:>{}}", gap, row[i], widths[i])
                        : fmt::format("{}{:<{}}", gap, row[i], i + 1 == columns ? 0 : widths[i]);
    }
    text += '\n';
  }
  return text;
}

int compute(const FrameArguments& arguments) {
  const Frame wanted = planned(arguments);
  Executor executor({.place = Place::threads, .threads = arguments.threads});
  FrameProgressView view(arguments.quiet);
  const FrameOptions options = {.executor = &executor,
                                .on_progress = [&](const FrameProgress& progress) { view.update(progress); }};
  if (arguments.out) {
    const std::string suffix = fs::path(*arguments.out).extension().string();
    require(suffix == ".csv" || suffix == ".parquet", "{} ends in neither .csv nor .parquet", *arguments.out);
    suffix == ".csv" ? wanted.write_csv(*arguments.out, options) : wanted.write_parquet(*arguments.out, options);
    return 0;
  }
  const auto table = wanted.compute(options);
  view.clear();
  const std::string text = arguments.json ? as_json(*table) : as_table(*table);
  view.check_signals();
  write_stdout(text);
  return 0;
}

int frame(const FrameArguments& arguments) {
  try {
    return compute(arguments);
  } catch (const Stopped& stopped) {
    return 128 + stopped.signal;
  }
}

}  // namespace

Command add_frame(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("frame", "Look at, group and convert tables: CSV, Parquet, Arrow");
  const auto a = std::make_shared<FrameArguments>();
  parser->add_option("FILE", a->file, "A table, or a pattern of files that have the same columns")->required();
  parser->add_option("--select", a->select, "Columns to keep, in this order")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("COLUMN,…");
  parser->add_option("--groupby", a->groupby, "Rows with the same values of these columns are a group")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("COLUMN,…");
  parser
      ->add_option("--agg", a->agg,
                   "What is made of a column in each group: sum, mean, min, max, count, std. Repeatable")
      ->type_name("COLUMN:AGGREGATE,…")
      ->allow_extra_args(false)
      ->take_all();
  parser->add_flag("--merge-back", a->merge_back, "Each row with what its group has, instead of the groups alone");
  parser->add_option("--sort", a->sort, "By these columns; COLUMN:desc for the largest first")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("COLUMN,…");
  parser->add_option("--head", a->head, "The first rows alone; no more is read than they need")
      ->expected(0, 1)
      ->default_str("5")
      ->transform(whole_number(0))
      ->type_name("N");
  parser->add_option("-o,--out", a->out, "Write a .csv or .parquet file instead of printing")->type_name("OUT");
  parser->add_option("--type", a->types, "Of a CSV file's column: int64, float64, string, bool, date32, … Repeatable")
      ->type_name("COLUMN=TYPE")
      ->allow_extra_args(false)
      ->take_all();
  parser->add_option("--delimiter", a->delimiter, "Of a CSV file: one character, or \\t")->type_name("CHARACTER");
  parser->add_flag("--no-header", a->no_header, "The CSV file's first row is data; its columns are named f0, f1, …");
  parser->add_option("--chunk-rows", a->chunk_rows, "About so many rows of a CSV file are one piece of work")
      ->transform(whole_number(1))
      ->type_name("N")
      ->capture_default_str();
  parser->add_option("--threads", a->threads, "Who compute")
      ->transform(whole_number(1, 1024))
      ->type_name("N")
      ->capture_default_str();
  parser->add_flag("--json", a->json, "Print one line of JSON: columns and rows");
  parser->add_flag("-q,--quiet", a->quiet, "No progress");
  parser->footer(kFrameFooter);
  return {parser, [a](const Arguments&) { return frame(*a); }};
}

}  // namespace hogpen
