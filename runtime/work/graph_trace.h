#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/memory/replacement_file.h"
#include "runtime/work/graph_node.h"

namespace hogpen::detail {

/// When each task was run, by whom: a row for each thread or process.
///
/// Sharing: one thread; while tasks run, a thread a row. Owns: the file that it will write.
class GraphTrace {
 public:
  /// Throws: as ReplacementFile.
  explicit GraphTrace(const std::filesystem::path& path) : file_(path) {}

  /// Returns its number.
  std::size_t add_row(std::string name);
  void add_task(std::size_t row, const GraphNode& node, const TaskTimes& times) {
    rows_[row].tasks.push_back({&node, times.begin, times.end});
  }
  /// Runs a task in this thread.
  void run(std::size_t row, GraphNode& node) {
    TaskTimes times{.begin = TaskTimes::now()};
    node.run();
    times.end = TaskTimes::now();
    add_task(row, node, times);
  }
  /// Writes the file in Chrome's trace event format. Throws: SystemError; then the file is as it was.
  void write();

 private:
  struct Task {
    const GraphNode* node;
    std::int64_t begin;
    std::int64_t end;
  };
  struct alignas(64) Row {
    std::string name;
    std::vector<Task> tasks;
  };

  ReplacementFile file_;
  std::deque<Row> rows_;
};

}  // namespace hogpen::detail
