#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "runtime/sync/wait_point.h"

namespace hogpen {

/// Threads that run the same body at once; the calling thread is one of them. As a Pool has jobs for whoever is free,
/// a Team has one body for all, and takes less time to begin and end it.
///
/// Its threads stay on the CPUs that the process might use when it was made.
/// Sharing: one thread at a time, of the process that made it; not to be used, nor destroyed, after a fork.
/// Owns: the other threads.
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
    run_all(body, Wait::for_everyone);
  }
  /// Calls body(piece) for each piece < pieces. Each thread begins with a share of neighbours, so that the same call
  /// again, or another on the same data, finds them in the cache of the same core; who is done helps the others. A
  /// thread that its CPU has not let run until all is done is not waited for.
  template <class Body>
  void for_each(std::size_t pieces, const Body& body) {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      shares_[i].next.store(i * pieces / shares_.size(), std::memory_order_relaxed);  // published by the round
      shares_[i].end = (i + 1) * pieces / shares_.size();
    }
    const auto finish_all = [&](std::size_t thread) {
      for (std::size_t i = 0; i < shares_.size(); ++i) shares_[(thread + i) % shares_.size()].finish(body);
    };
    run_all(finish_all, Wait::for_who_has_begun);
  }
  [[nodiscard]] std::size_t threads() const noexcept { return shares_.size(); }

 private:
  struct alignas(64) Share {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;

    template <class Body>
    void finish(const Body& body) {
      // Relaxed: a piece is claimed by the value alone; what the body wrote is published by the end of the round.
      for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < end;
           i = next.fetch_add(1, std::memory_order_relaxed)) {
        body(i);
      }
    }
  };
  using Call = void (*)(const void* body, std::size_t i) noexcept;
  enum class Wait { for_everyone, for_who_has_begun };

  template <class Body>
  void run_all(const Body& body, Wait wait) {
    run_round([](const void* erased, std::size_t i) noexcept { (*static_cast<const Body*>(erased))(i); }, &body, wait);
  }
  void run_round(Call call, const void* body, Wait wait);
  void help(std::size_t i);
  void end();
  bool join_round(std::uint64_t& last_round);

  // What a round is: written by the caller before it begins the round, read by the helpers that have joined it.
  Call call_ = nullptr;  // null: it is the last round
  const void* body_ = nullptr;
  int callers_cpu_ = -1;

  // The number of the round, whether it is closed to those who have not joined, and how many have.
  alignas(64) std::atomic<std::uint64_t> round_{0};
  WaitPoint begin_;
  alignas(64) std::atomic<std::uint64_t> done_{0};  // helpers that have left the round
  WaitPoint end_;

  std::vector<int> cpus_;
  std::vector<Share> shares_;  // one a thread
  std::vector<std::thread> helpers_;
};

}  // namespace hogpen
