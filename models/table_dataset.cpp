#include "models/table_dataset.h"

#include <arrow/array.h>
#include <arrow/compute/api.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/frame.h"
#include "runtime/frame/row_blocks.h"
#include "runtime/frame/types.h"
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

/// A whole number below 256?
bool is_class(const std::string& label) {
  return !label.empty() && label.size() <= 3 && label.find_first_not_of("0123456789") == std::string::npos &&
         std::stoul(label) < kMostClasses;
}

/// The labels of a table, as its chunks come.
class Labels {
 public:
  /// `is_known`: the record has the classes; else they are those that come.
  Labels(std::string pattern, const arrow::Schema& schema, const TableRecord& record, bool is_known)
      : pattern_(std::move(pattern)), name_(record.label), is_known_(is_known), have_names_(!record.classes.empty()) {
    const auto& type = *schema.field(detail::index_of_column(schema, name_))->type();
    is_integer_ = arrow::is_integer(type.id());
    require(is_integer_ || type.id() == arrow::Type::STRING || type.id() == arrow::Type::BOOL,
            "the label '{}' is {}, which names no classes: it must be whole numbers, texts, or true and false", name_,
            type.ToString());
    for (const std::string& name : record.classes) classes_.emplace(name, classes_.size());
  }

  void append(const arrow::RecordBatch& chunk) {
    const auto column = chunk.GetColumnByName(name_);
    detail::check_no_nulls(*column, name_, static_cast<std::int64_t>(labels_.size()));
    const auto encoded = detail::arrow_ok(arrow::compute::DictionaryEncode(column)).make_array();
    const auto& values = static_cast<const arrow::DictionaryArray&>(*encoded);
    const auto texts = detail::arrow_ok(arrow::compute::Cast(*values.dictionary(), arrow::utf8()));
    std::vector<std::optional<std::uint8_t>> classes(static_cast<std::size_t>(texts->length()));
    for (std::int64_t i = 0; i < values.length(); ++i) {
      const std::int64_t value = values.GetValueIndex(i);
      auto& known = classes[static_cast<std::size_t>(value)];
      if (!known) known = class_of(static_cast<const arrow::StringArray&>(*texts).GetString(value));
      labels_.push_back(*known);
    }
  }

  /// After the last chunk, where the classes were not known: numbers them, and returns their names, none where the
  /// labels are the numbers.
  [[nodiscard]] std::vector<std::string> number_classes() {
    const bool are_numbers =
        is_integer_ && std::ranges::all_of(classes_, [](const auto& one) { return is_class(one.first); });
    std::vector<std::string> names;
    std::array<std::uint8_t, kMostClasses> numbers{};
    for (const auto& [text, place] : classes_) {
      numbers[place] = static_cast<std::uint8_t>(are_numbers ? std::stoul(text) : names.size());
      names.push_back(text);
    }
    for (std::uint8_t& label : labels_) label = numbers[label];
    return are_numbers ? std::vector<std::string>() : names;
  }
  [[nodiscard]] const std::vector<std::uint8_t>& labels() const noexcept { return labels_; }

 private:
  /// Of the next row.
  std::uint8_t class_of(const std::string& text) {
    if (const auto found = classes_.find(text); found != classes_.end()) return found->second;
    if (is_known_ && (have_names_ || !is_class(text))) {
      throw FormatError(pattern_, fmt::format("row {}", labels_.size() + 1),
                        fmt::format("the label '{}' is none of those that were trained on", text));
    }
    if (is_known_) return static_cast<std::uint8_t>(std::stoul(text));
    require(classes_.size() < kMostClasses, "the label '{}' has more than {} values: there cannot be as many classes",
            name_, kMostClasses);
    return classes_.emplace(text, classes_.size()).first->second;
  }

  std::string pattern_;
  std::string name_;
  bool is_known_;
  bool have_names_;
  bool is_integer_ = false;
  std::map<std::string, std::uint8_t> classes_;  // numbers; in the order they came in until they are known
  std::vector<std::uint8_t> labels_;
};

/// Mean and standard deviation of each feature, over the rows to train on; a deviation of 1 where all are alike.
void measure(const detail::RowBlocks& blocks, TableRecord& record) {
  const std::size_t features = record.features.size();
  const auto count = static_cast<double>(blocks.rows() - blocks.rows() / kOneInTests);
  // Adds f(value, feature) of each number to a sum for each feature, and divides these by the number of rows.
  const auto mean_of = [&](const auto& f) {
    std::vector<double> sums(features);
    std::int64_t row = 0;
    blocks.for_each([&](std::span<const float> numbers) {
      for (; !numbers.empty(); numbers = numbers.subspan(features), ++row) {
        if (is_to_test(row)) continue;
        for (std::size_t i = 0; i < features; ++i) sums[i] += f(numbers[i], i);
      }
    });
    for (double& sum : sums) sum /= count;
    return sums;
  };
  const std::vector<double> mean = mean_of([](double value, std::size_t) { return value; });
  record.stddev = mean_of([&](double value, std::size_t i) { return (value - mean[i]) * (value - mean[i]); });
  for (double& stddev : record.stddev) stddev = stddev > 0.0 ? std::sqrt(stddev) : 1.0;
  record.mean = mean;
  for (std::size_t i = 0; i < features; ++i) record.mean[i] += blocks.origin()[i];
}

void check_are_finite(const detail::RowBlocks& blocks, const std::vector<std::string>& features) {
  std::int64_t row = 0;
  blocks.for_each([&](std::span<const float> numbers) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      require(std::isfinite(numbers[i]), "the feature '{}' is NaN, infinite or too large for float32 in row {}",
              features[i % features.size()], row + static_cast<std::int64_t>(i / features.size()) + 1);
    }
    row += static_cast<std::int64_t>(numbers.size() / features.size());
  });
}

/// A part of the rows, as `Dataset::of_features` takes them.
class Part {
 public:
  Part(std::int64_t rows, std::size_t features)
      : samples_(Segment::create("dataset", static_cast<std::size_t>(rows) * (features * sizeof(float) + 1))),
        next_(reinterpret_cast<float*>(samples_.data())),
        next_label_(reinterpret_cast<std::uint8_t*>(next_ + static_cast<std::size_t>(rows) * features)) {}

  /// `mean`: of the features as they stand in the row.
  void append(std::span<const float> row, std::uint8_t label, const std::vector<double>& mean,
              const std::vector<double>& stddev) {
    for (std::size_t i = 0; i < row.size(); ++i) *next_++ = static_cast<float>((row[i] - mean[i]) / stddev[i]);
    *next_label_++ = label;
  }
  [[nodiscard]] int fd() const noexcept { return samples_.fd(); }

 private:
  Segment samples_;
  float* next_;
  std::uint8_t* next_label_;
};

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
  const bool is_known = !options.record.empty();
  const std::size_t features = record.features.size();
  Labels labels(pattern, *table.schema(), record, is_known);
  detail::RowBlocks blocks(*table.schema(), record.features, detail::RowBlocks::Origin::first_row);
  std::vector<std::string> columns = record.features;
  if (std::ranges::find(columns, record.label) == columns.end()) columns.push_back(record.label);
  table.select(columns).for_each_chunk([&](const arrow::RecordBatch& chunk) {
    blocks.append(chunk);
    labels.append(chunk);
  });
  const std::int64_t rows = blocks.rows();
  require(rows >= kOneInTests, "{} has {} rows: there must be at least {}, since every fifth is to test on", pattern,
          rows, kOneInTests);
  check_are_finite(blocks, record.features);
  if (!is_known) {
    measure(blocks, record);
    record.classes = labels.number_classes();
  }
  Part train(rows - rows / kOneInTests, features);
  Part test(rows / kOneInTests, features);
  std::vector<double> mean = record.mean;
  for (std::size_t i = 0; i < features; ++i) mean[i] -= blocks.origin()[i];
  std::int64_t row = 0;
  blocks.consume([&](std::span<const float> numbers) {
    for (; !numbers.empty(); numbers = numbers.subspan(features), ++row) {
      (is_to_test(row) ? test : train)
          .append(numbers.first(features), labels.labels()[static_cast<std::size_t>(row)], mean, record.stddev);
    }
  });
  send_fd(socket, train.fd());
  send_fd(socket, test.fd());
  const std::string text = record.text();  // may be too long for a socket that nobody reads yet
  const Segment with_text = Segment::create("table record", text.size());
  std::memcpy(with_text.data(), text.data(), text.size());
  send_fd(socket, with_text.fd());
  const Counts counts = {rows, static_cast<std::int64_t>(features), text.size()};
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
