#pragma once

#include <cstdint>
#include <string>

#include "runtime/core/error.h"
#include "runtime/work/parcel.h"

namespace hogpen {

/// Why a chunk failed, on its way from the worker or the supervisor to who asked for the result.
struct Failure {
  enum class Kind : std::uint32_t { threw, worker_died, timed_out };
  Kind kind = Kind::threw;
  std::uint64_t index = 0;  ///< of the task
  std::string type;         ///< of the exception
  WorkerExit exit;          ///< of the worker that died; `exit.message` is the text in all cases

  [[nodiscard]] Parcel to_parcel() const;
  [[nodiscard]] static Failure from(Parcel parcel);
  /// Throws: TaskError, WorkerError or TimeoutError, as it was.
  [[noreturn]] void raise() const;
};

/// The exception being handled: its type, demangled, and its text, at most 64 KiB of it.
[[nodiscard]] Failure describe_current_exception(std::uint64_t index);

}  // namespace hogpen
