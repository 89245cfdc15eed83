#include "models/table_dataset.h"

#include <ATen/core/Tensor.h>
#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/frame.h"
#include "runtime/process/launcher.h"

namespace hogpen {
namespace {

constexpr std::int64_t kOneInTests = 5;
constexpr std::size_t kMostClasses = 256;

bool is_to_test(std::int64_t row) {
  return row % kOneInTests == kOneInTests - 1;
}

/// What `TableData::record` says.
struct TableRecord {
  std::vector<std::string> features;
  std::string label;
  std::vector<double> mean;
  std::vector<double> stddev;
  std::vector<std::string> classes;  // empty: labels are the classes themselves

  static TableRecord parse(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text);
    return {json.at("features"), json.at("label"), json.at("mean"), json.at("stddev"), json.at("classes")};
  }
  [[nodiscard]] std::string text() const {
    return nlohmann::json{
        {"features", features}, {"label", label}, {"mean", mean}, {"stddev", stddev}, {"classes", classes}}
        .dump();
  }
};

/// The labels as texts, in the order of the rows.
std::vector<std::string> texts_of(const arrow::ChunkedArray& column, const std::string& name) {
  require(column.null_count() == 0, "the label '{}' is missing in {} rows: filter them out", name, column.null_count());
  const auto type = column.type()->id();
  require(arrow::is_integer(type) || type == arrow::Type::STRING || type == arrow::Type::BOOL,
          "the label '{}' is {}, which names no classes: it must be whole numbers, texts, or true and false", name,
          column.type()->ToString());
  std::vector<std::string> texts;
  texts.reserve(static_cast<std::size_t>(column.length()));
  for (const auto& chunk : column.chunks()) {
    const auto as_text = detail::arrow_ok(arrow::compute::Cast(*chunk, arrow::utf8()));
    const auto& strings = static_cast<const arrow::StringArray&>(*as_text);
    for (std::int64_t i = 0; i < strings.length(); ++i) texts.push_back(strings.GetString(i));
  }
  return texts;
}

/// Whole numbers below 256, as texts?
bool are_classes(const std::set<std::string>& labels, const arrow::DataType& type) {
  return arrow::is_integer(type.id()) && std::ranges::all_of(labels, [](const std::string& label) {
           return label.size() <= 3 && label[0] != '-' && std::stoul(label) < kMostClasses;
         });
}

std::vector<std::string> classes_of(const std::vector<std::string>& texts, const arrow::DataType& type,
                                    const std::string& name) {
  const std::set<std::string> distinct(texts.begin(), texts.end());
  if (are_classes(distinct, type)) return {};
  require(distinct.size() <= kMostClasses, "the label '{}' has {} values, but there can be {} classes", name,
          distinct.size(), kMostClasses);
  return {distinct.begin(), distinct.end()};
}

std::vector<std::uint8_t> numbers_of(const std::vector<std::string>& texts, const std::vector<std::string>& classes,
                                     const std::string& pattern) {
  std::vector<std::uint8_t> numbers;
  numbers.reserve(texts.size());
  for (const std::string& text : texts) {
    if (classes.empty()) {
      numbers.push_back(static_cast<std::uint8_t>(std::stoul(text)));
      continue;
    }
    const auto found = std::ranges::lower_bound(classes, text);
    if (found == classes.end() || *found != text) {
      throw FormatError(pattern, fmt::format("row {}", numbers.size() + 1),
                        fmt::format("the label '{}' is none of those that were trained on", text));
    }
    numbers.push_back(static_cast<std::uint8_t>(found - classes.begin()));
  }
  return numbers;
}

/// Mean and standard deviation of each feature, over the rows to train on; a deviation of 1 where all are alike.
void measure(const at::Tensor& rows, TableRecord& record) {
  const auto* const values = rows.const_data_ptr<float>();
  const std::int64_t features = rows.size(1);
  record.mean.assign(static_cast<std::size_t>(features), 0.0);
  record.stddev.assign(static_cast<std::size_t>(features), 0.0);
  for (std::int64_t feature = 0; feature < features; ++feature) {
    double mean = 0.0;
    double squares = 0.0;
    double count = 0.0;
    for (std::int64_t row = 0; row < rows.size(0); ++row) {
      if (is_to_test(row)) continue;
      const double difference = values[row * features + feature] - mean;
      mean += difference / ++count;
      squares += difference * (values[row * features + feature] - mean);
    }
    const auto place = static_cast<std::size_t>(feature);
    require(std::isfinite(mean) && std::isfinite(squares), "the feature '{}' has values that are NaN or infinite",
            record.features[place]);
    record.mean[place] = mean;
    record.stddev[place] = squares > 0.0 ? std::sqrt(squares / count) : 1.0;
  }
}

/// The rows that are to test on, or those that are not, as `Dataset::of_features` takes them.
Segment part_of(const at::Tensor& rows, const std::vector<std::uint8_t>& labels, const TableRecord& record,
                bool is_test) {
  const auto features = static_cast<std::size_t>(rows.size(1));
  const std::int64_t to_test = rows.size(0) / kOneInTests;
  const auto count = static_cast<std::size_t>(is_test ? to_test : rows.size(0) - to_test);
  Segment samples = Segment::create("dataset", count * (features * sizeof(float) + 1));
  auto* to = reinterpret_cast<float*>(samples.data());
  auto* to_labels = reinterpret_cast<std::uint8_t*>(samples.data() + count * features * sizeof(float));
  const auto* from = rows.const_data_ptr<float>();
  for (std::int64_t row = 0; row < rows.size(0); ++row, from += features) {
    if (is_to_test(row) != is_test) continue;
    for (std::size_t i = 0; i < features; ++i) {
      *to++ = static_cast<float>((from[i] - record.mean[i]) / record.stddev[i]);
    }
    *to_labels++ = labels[static_cast<std::size_t>(row)];
  }
  return samples;
}

TableRecord wanted(const Frame& table, const TableOptions& options) {
  if (!options.record.empty()) return TableRecord::parse(options.record);
  require(!options.label.empty(), "a table needs the column to learn: --label");
  TableRecord record{options.features, options.label, {}, {}, {}};
  if (record.features.empty()) {
    for (const std::string& name : table.columns()) {
      if (name != options.label) record.features.push_back(name);
    }
  }
  return record;
}

/// What the child that reads a table tells of it, beside the Segments.
struct Counts {
  std::int64_t rows = 0;
  std::int64_t features = 0;
  std::size_t record_bytes = 0;
};

void read_and_send(const std::string& pattern, const TableOptions& options, int socket) {
  const Frame table = Frame::read(pattern);
  TableRecord record = wanted(table, options);
  std::vector<std::string> columns = record.features;
  if (std::ranges::find(columns, record.label) == columns.end()) columns.push_back(record.label);
  const auto rows = table.select(columns).compute();
  require(rows->num_rows() >= kOneInTests, "{} has {} rows: there must be at least {}, since every fifth is to test on",
          pattern, rows->num_rows(), kOneInTests);
  const at::Tensor features = Frame::from_table(rows).to_tensor(record.features);
  const auto& label = *rows->GetColumnByName(record.label);
  const std::vector<std::string> texts = texts_of(label, record.label);
  if (options.record.empty()) {
    measure(features, record);
    record.classes = classes_of(texts, *label.type(), record.label);
  }
  const std::vector<std::uint8_t> labels = numbers_of(texts, record.classes, pattern);
  send_fd(socket, part_of(features, labels, record, false).fd());
  send_fd(socket, part_of(features, labels, record, true).fd());
  const std::string text = record.text();  // may be too long for a socket that nobody reads yet
  const Segment with_text = Segment::create("table record", text.size());
  std::memcpy(with_text.data(), text.data(), text.size());
  send_fd(socket, with_text.fd());
  const Counts counts = {features.size(0), features.size(1), text.size()};
  syscall_ok(::write(socket, &counts, sizeof(counts)), "write to the launcher");
}

}  // namespace

// In a child: the launcher of a training must have no threads, and do no tensor operation.
TableData read_table(const std::string& pattern, const TableOptions& options) {
  const auto [mine, childs] = socket_pair();
  run_isolated(WorkersAs::processes, [&, socket = childs.get()] { read_and_send(pattern, options, socket); });
  const Deadline soon = Deadline::after(std::chrono::seconds(1));
  Segment train = Segment::attach(receive_fd(mine.get(), soon));
  Segment test = Segment::attach(receive_fd(mine.get(), soon));
  const Segment with_text = Segment::attach(receive_fd(mine.get(), soon));
  Counts counts;
  syscall_ok(::read(mine.get(), &counts, sizeof(counts)), "read from the child that read the table");
  std::string record(reinterpret_cast<const char*>(with_text.data()), counts.record_bytes);
  const std::int64_t to_test = counts.rows / kOneInTests;
  return {.data = {Dataset::of_features(std::move(train), counts.rows - to_test, counts.features),
                   Dataset::of_features(std::move(test), to_test, counts.features)},
          .record = std::move(record)};
}

}  // namespace hogpen
