#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "apps/status_line.h"
#include "apps/stopped.h"
#include "kernels/unary_op.h"
#include "runtime/process/stop_signals.h"
#include "runtime/work/executor.h"

namespace hogpen {

/// Applies an op piece by piece, and tells on stderr how that goes: nothing of short work but its end.
///
/// Sharing: one thread. Owns: while it lives, SIGINT and SIGTERM.
class Mapper {
 public:
  struct Options {
    bool quiet = false;
    bool verbose = false;  ///< says where the first piece is done, and why
  };
  Mapper(kernels::UnaryOp op, Executor& executor, Options options);

  /// To be called first, with the size of the file.
  void begin(std::uint64_t file_bytes) { file_bytes_ = file_bytes; }
  /// `out` may be `in`. Throws: what `transform_into` throws.
  void apply(const at::Tensor& in, const at::Tensor& out);
  /// So much more of the file is done. Throws: Stopped.
  void advance(std::uint64_t bytes);
  /// Throws: Stopped, when a signal has come.
  void stop_if_told();
  /// Tells what was left as it was, or the like.
  void say(const std::string& line);
  /// To be called last, when the file is there.
  void finish(const std::filesystem::path& out);

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

  kernels::UnaryOp op_;
  Executor& executor_;
  Options options_;
  StopSignals signals_;
  StatusLine line_;
  Clock::time_point began_ = Clock::now();
  Clock::time_point shown_ = began_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t bytes_ = 0;
  std::int64_t elements_ = 0;
};

}  // namespace hogpen
