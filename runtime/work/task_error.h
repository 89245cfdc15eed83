#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {

/// A task on a pool threw. The message has the type, the text and the index of the task.
class TaskError : public Error {
 public:
  TaskError(std::uint64_t index, std::string type, const std::string& text)
      : Error(fmt::format("task {} threw {}: {}", index, type, text)),
        index_(index),
        type_(std::move(type)),
        text_(text) {}
  /// Which of the items of a map it was; 0 for a single task.
  [[nodiscard]] std::uint64_t index() const noexcept { return index_; }
  /// The exception's type as the program writes it: "std::out_of_range".
  [[nodiscard]] const std::string& type() const noexcept { return type_; }
  /// What the exception says.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::uint64_t index_;
  std::string type_;
  std::string text_;
};

/// A task of a graph failed: "task 'sq' (total <- mean <- sq) threw std::out_of_range: …". What it threw is nested: the
/// exception itself, or from another process a TaskError, WorkerError or TimeoutError (`std::rethrow_if_nested`).
///
/// Requires: it is made while that exception is handled.
class GraphError : public Error, public std::nested_exception {
 public:
  GraphError(std::string task, std::string path, std::string type, const std::string& text, std::string hint)
      : Error(fmt::format("task '{}'{}{}{}: {}", task, path.empty() ? "" : fmt::format(" ({})", path),
                          type.empty() ? "" : " threw ", type, text),
              std::move(hint)),
        task_(std::move(task)),
        path_(std::move(path)),
        type_(std::move(type)) {}
  [[nodiscard]] const std::string& task() const noexcept { return task_; }
  /// From what was asked for down to the task: "total <- mean <- sq". Empty when the task itself was asked for.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The exception's type as the program writes it; empty when none was thrown, since a worker died.
  [[nodiscard]] const std::string& type() const noexcept { return type_; }

 private:
  std::string task_;
  std::string path_;
  std::string type_;
};

/// The result of a task that was cancelled before it began.
class CancelledError : public Error {
 public:
  using Error::Error;
};

}  // namespace hogpen
