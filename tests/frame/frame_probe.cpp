// Does with a Frame what its arguments say, so that frame_test.py can compare the result with that of pandas and
// polars:
//   frame_probe [threads N] [chunk-rows N] [type COLUMN=TYPE]… read FILE [OPERATION ARGUMENT…]… write FILE
#include <fmt/format.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/frame/frame.h"

namespace {

using namespace hogpen;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::pair<std::string, std::string> halves(const std::string& text, char separator) {
  const std::size_t place = text.find(separator);
  return {text.substr(0, place), text.substr(place + 1)};
}

/// "column op number"
Expr condition(const std::string& column, const std::string& op, const std::string& number) {
  const Expr value = number.find('.') == std::string::npos ? Expr(std::int64_t{std::atoll(number.c_str())})
                                                           : Expr(std::atof(number.c_str()));
  const std::map<std::string, std::function<Expr(const Expr&, const Expr&)>> operators = {
      {"<", [](const Expr& a, const Expr& b) { return a < b; }},
      {">", [](const Expr& a, const Expr& b) { return a > b; }},
      {"==", [](const Expr& a, const Expr& b) { return a == b; }},
      {"*", [](const Expr& a, const Expr& b) { return a * b; }},
      {"+", [](const Expr& a, const Expr& b) { return a + b; }},
      {"/", [](const Expr& a, const Expr& b) { return a / b; }}};
  return operators.at(op)(col(column), value);
}

How how_named(const std::string& name) {
  return std::map<std::string, How>{
      {"inner", How::inner}, {"left", How::left}, {"right", How::right}, {"outer", How::outer}}
      .at(name);
}

kernels::UnaryOp op_named(const std::string& name) {
  return {std::map<std::string, kernels::UnaryOp::Kind>{{"exp", kernels::UnaryOp::Kind::exp},
                                                        {"square", kernels::UnaryOp::Kind::square}}
              .at(name)};
}

class Probe {
 public:
  explicit Probe(std::vector<std::string> words) : words_(std::move(words)) {}

  void run() {
    while (place_ < words_.size()) operate(next());
  }

 private:
  std::string next() { return words_.at(place_++); }
  Frame read(const std::string& file) const {
    return file.find(".csv") != std::string::npos ? Frame::read_csv(file, options_) : Frame::read(file);
  }

  void operate(const std::string& word) {
    if (word == "threads") threads_ = std::atoi(next().c_str());
    if (word == "chunk-rows") options_.chunk_rows = std::atoll(next().c_str());
    if (word == "type") options_.types.insert(halves(next(), '='));
    if (word == "read") frames_.push_back(read(next()));
    if (word == "select") frame() = frame().select(split(next()));
    if (word == "filter") frame() = frame().filter(expression());
    if (word == "column") {
      const std::string name = next();
      frame() = frame().with_column(name, expression());
    }
    if (word == "rename") frame() = frame().rename({halves(next(), '=')});
    if (word == "map") {
      const std::string column = next();
      frame() = frame().map(column, op_named(next()));
    }
    if (word == "groupby") {
      const std::string keys = next();
      group(keys, next());
    }
    if (word == "merge") {
      const Frame right = read(next());
      const std::vector<std::string> on = split(next());
      frame() = frame().merge(right, on, how_named(next()));
    }
    if (word == "merge-back") {
      const std::string keys = next();
      merge_back(keys, next());
    }
    if (word == "sort") {
      std::vector<SortKey> keys;
      for (const std::string& key : split(next())) keys.push_back({key, false});
      frame() = frame().sort(keys);
    }
    if (word == "head") frame() = frame().head(std::atoll(next().c_str()));
    if (word == "write") write(next());
  }

  Frame& frame() { return frames_.back(); }
  Expr expression() {
    const std::string column = next();
    const std::string op = next();
    return condition(column, op, next());
  }
  [[nodiscard]] static Frame groups(const Frame& frame, const std::string& keys, const std::string& aggregates) {
    std::vector<AggregateOf> all;
    for (const std::string& one : split(aggregates)) {
      const auto [column, name] = halves(one, ':');
      all.push_back({column, aggregate_named(name)});
    }
    return frame.groupby(split(keys)).agg(all);
  }
  void group(const std::string& keys, const std::string& aggregates) { frame() = groups(frame(), keys, aggregates); }
  void merge_back(const std::string& keys, const std::string& aggregates) {
    frame() = frame().merge(groups(frame(), keys, aggregates), split(keys), How::left);
  }
  void write(const std::string& file) {
    Executor executor({.place = Place::threads, .threads = threads_});
    // Through memory: so kept chunks are tried too.
    const Frame computed = Frame::from_table(frame().compute({.executor = &executor}));
    file.ends_with(".csv") ? computed.write_csv(file) : computed.write_parquet(file);
  }

  std::vector<std::string> words_;
  std::size_t place_ = 0;
  int threads_ = 2;
  CsvOptions options_;
  std::vector<Frame> frames_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Probe({argv + 1, argv + argc}).run();
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\nhint: {}\n", error.what(), error.hint());
    return 2;
  }
}
