#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/work/calibration.h"

namespace hogpen {

class Pool;
class Team;

/// Where elementwise work is done.
enum class Place {
  automatic,  ///< where the data is, and where it is fastest
  caller,     ///< by the calling thread
  threads,    ///< by the calling thread and the Executor's own
  processes,  ///< by the workers of a Pool; only for data in shared memory
  gpu,        ///< by a GPU: that of a CUDA tensor; the first one for host data, which is copied there and back
};
[[nodiscard]] const char* name_of(Place place) noexcept;

struct ExecutorOptions {
  Place place = Place::automatic;
  int threads = 0;            ///< with the calling one; 0: `default_workers()`
  Pool* processes = nullptr;  ///< forked early, by a process with one thread; must outlive the Executor
  Calibration calibration = {};
};

/// A place, and why it was chosen.
struct Choice {
  enum class Reason {
    size,   ///< what the calibration says of so many elements
    data,   ///< the data lies there
    asked,  ///< the Executor's options name it
    alone,  ///< nobody else may do it
  };

  Place place = Place::caller;
  int workers = 1;
  Reason reason = Reason::size;
  std::uint64_t elements = 0;
  std::uint64_t from = 0;  ///< with Reason::size: the number of elements from which on the place is chosen

  /// For people: "2 threads: 1000000 elements, and from 131072 on that is faster".
  [[nodiscard]] std::string describe() const;
};

/// Does elementwise work: runtime/work/elementwise.h.
///
/// Sharing: one thread at a time, of the process that made it. Owns: its threads, which are started when they are first
/// needed: fork before.
class Executor {
 public:
  /// Throws: UsageError for a place that these options do not offer, DeviceError for one that this machine does not.
  explicit Executor(ExecutorOptions options = {});
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  ~Executor();

  [[nodiscard]] const ExecutorOptions& options() const noexcept { return options_; }
  /// With the calling one.
  [[nodiscard]] int threads() const noexcept { return options_.threads; }
  /// Its threads. The first call starts them.
  [[nodiscard]] Team& team();

 private:
  ExecutorOptions options_;
  std::unique_ptr<Team> team_;
};

}  // namespace hogpen
