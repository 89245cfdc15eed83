#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/unary_op.h"

namespace hogpen {

/// From how many float32 elements on another place is chosen, because it is faster; kNever where it is not.
struct BreakEven {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  std::uint64_t threads = kNever;    ///< than the calling thread alone
  std::uint64_t processes = kNever;  ///< likewise
  std::uint64_t gpu = kNever;        ///< than the threads, for host data, with its copies
};

/// What an Executor knows of the machine.
///
/// Sharing: a value.
struct Calibration {
  BreakEven light = {.threads = std::uint64_t{1} << 15, .processes = std::uint64_t{1} << 19};  ///< a few instructions
  BreakEven heavy = {.threads = std::uint64_t{1} << 14,
                     .processes = std::uint64_t{1} << 17};  ///< exp, log, sigmoid, tanh
  std::string machine = {};  ///< where it was measured: CPU, threads, number of GPUs; empty for these defaults

  [[nodiscard]] const BreakEven& of(kernels::UnaryOp::Kind kind) const noexcept;
};

/// Measures this machine with that many threads, in about two seconds. Forks a pool of processes for the time, so it
/// is to be called by a process with one thread.
[[nodiscard]] Calibration calibrate(int threads);

/// Where the calibration of this user is stored: $XDG_CACHE_HOME/hogpen/calibration.json, or below ~/.cache.
///
/// Throws: UsageError when neither XDG_CACHE_HOME nor HOME is set.
[[nodiscard]] std::filesystem::path calibration_path();
/// The stored calibration if it is of this machine and that many threads, else the defaults. Looks for GPUs, and so
/// initialises CUDA where there is a driver: fork before.
///
/// Throws: FormatError for a file that is no calibration.
[[nodiscard]] Calibration stored_calibration(const std::filesystem::path& path, int threads);
/// Writes it atomically, making the directory. Throws: SystemError.
void store_calibration(const std::filesystem::path& path, const Calibration& calibration);

}  // namespace hogpen
