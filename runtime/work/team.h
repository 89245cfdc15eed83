#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/sync/wait_point.h"

namespace hogpen {

/// Threads that run the same body at once; the calling thread is one of them. As a Pool has jobs for whoever is free,
/// a Team has one body for all: it costs well under a microsecond while the last one ended a moment ago.
///
/// Sharing: one thread at a time. Owns: the other threads.
class Team {
 public:
  /// Throws: UsageError for fewer than one thread; std::system_error when there can be no more.
  explicit Team(int threads);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  /// Calls body(i) for each i < threads(), and returns when all are done. The body must not throw.
  template <class Body>
  void run(const Body& body) {
    run_all([](const void* erased, std::size_t i) noexcept { (*static_cast<const Body*>(erased))(i); }, &body);
  }
  [[nodiscard]] std::size_t threads() const noexcept { return helpers_.size() + 1; }

 private:
  using Call = void (*)(const void* body, std::size_t i) noexcept;

  void run_all(Call call, const void* body);
  void help(std::size_t i);

  // What a round is: written by the caller before it counts `round_` up, read by the helpers after they have seen that.
  Call call_ = nullptr;  // null: it was the last round
  const void* body_ = nullptr;
  int callers_cpu_ = -1;

  alignas(64) std::atomic<std::uint64_t> round_{0};
  WaitPoint begin_;
  alignas(64) std::atomic<std::size_t> working_{0};
  WaitPoint end_;

  std::vector<int> cpus_;
  std::vector<std::thread> helpers_;
};

}  // namespace hogpen
