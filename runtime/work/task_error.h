#pragma once

#include <cstdint>
#include <string>

#include "runtime/core/error.h"

namespace hogpen {

/// A task on a pool threw. The message has the type, the text and the index of the task.
class TaskError : public Error {
 public:
  TaskError(std::uint64_t index, std::string type, const std::string& text)
      : Error(fmt::format("task {} threw {}: {}", index, type, text)), index_(index), type_(std::move(type)) {}
  /// Which of the items of a map it was; 0 for a single task.
  [[nodiscard]] std::uint64_t index() const noexcept { return index_; }
  /// The exception's type as the program writes it: "std::out_of_range".
  [[nodiscard]] const std::string& type() const noexcept { return type_; }

 private:
  std::uint64_t index_;
  std::string type_;
};

/// The result of a task that was cancelled before it began.
class CancelledError : public Error {
 public:
  using Error::Error;
};

}  // namespace hogpen
