#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
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
  /// Calls body(piece) for each piece < pieces. Each thread begins with a share of neighbours, so that the same call
  /// again, or another on the same data, finds them in the cache of the same core; who is done helps the others.
  template <class Body>
  void for_each(std::size_t pieces, const Body& body) {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      shares_[i].next.store(i * pieces / shares_.size(), std::memory_order_relaxed);  // published by the round
      shares_[i].end = (i + 1) * pieces / shares_.size();
    }
    run([&](std::size_t thread) {
      for (std::size_t i = 0; i < shares_.size(); ++i) shares_[(thread + i) % shares_.size()].finish(body);
    });
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
  std::vector<Share> shares_;  // one a thread
  std::vector<std::thread> helpers_;
};

}  // namespace hogpen
