#include "runtime/frame/arrow_error.h"

#include <fmt/format.h>

#include "runtime/core/error.h"

namespace hogpen::detail {

void arrow_ok(const arrow::Status& status, const std::string& doing) {
  if (status.ok()) return;
  const std::string text = doing.empty() ? status.message() : fmt::format("{}: {}", doing, status.message());
  if (status.IsInvalid() || status.IsTypeError() || status.IsKeyError() || status.IsNotImplemented()) {
    throw UsageError(text);
  }
  throw Error(text);
}

}  // namespace hogpen::detail
