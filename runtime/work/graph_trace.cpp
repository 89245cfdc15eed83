#include "runtime/work/graph_trace.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace hogpen::detail {
namespace {

constexpr std::size_t kTracePiece = 1 << 16;  // of text, written at once: a trace of 10^6 tasks need not be in memory

// Names come from outside: bytes that are no UTF-8 are replaced.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::size_t GraphTrace::add_row(std::string name) {
  rows_.push_back({.name = std::move(name), .tasks = {}});
  return rows_.size() - 1;
}

void GraphTrace::write() {
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  for (const Row& row : rows_) {
    for (const Task& task : row.tasks) begin = std::min(begin, task.begin);
  }
  std::string text = "{\"traceEvents\": [";
  const char* separator = "\n";
  const auto add = [&](const std::string& event) {
    text += separator + event;
    separator = ",\n";
    if (text.size() < kTracePiece) return;
    file_.append(text);
    text.clear();
  };
  const auto microseconds = [](std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; };
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    add(fmt::format(R"({{"name": "thread_name", "ph": "M", "pid": 0, "tid": {}, "args": {{"name": {}}}}})", i,
                    json_string(rows_[i].name)));
    for (const Task& task : rows_[i].tasks) {
      add(fmt::format(R"({{"name": {}, "ph": "X", "pid": 0, "tid": {}, "ts": {:.3f}, "dur": {:.3f}}})",
                      json_string(task.node->name()), i, microseconds(task.begin - begin),
                      microseconds(task.end - task.begin)));
    }
  }
  file_.append(text + "\n]}\n");
  file_.commit();
}

}  // namespace hogpen::detail
