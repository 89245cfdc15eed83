#pragma once

#include <arrow/result.h>
#include <arrow/status.h>

#include <string>
#include <utility>

namespace hogpen::detail {

/// Throws what an Arrow function could not do: UsageError for what it calls invalid or a wrong type, SystemError's text
/// for input and output. `doing` begins the message, if it is not empty.
void arrow_ok(const arrow::Status& status, const std::string& doing = {});

template <class T>
T arrow_ok(arrow::Result<T> result, const std::string& doing = {}) {
  arrow_ok(result.status(), doing);
  return std::move(result).ValueUnsafe();
}

}  // namespace hogpen::detail
