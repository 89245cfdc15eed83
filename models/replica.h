#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/update.h"
#include "models/optimizer.h"
#include "runtime/memory/arena.h"

namespace hogpen {

/// How many copies of the parameters there are for workers to train.
enum class Replicas {
  one,         ///< only the shared parameters themselves
  per_numa,    ///< one for the workers of each NUMA node; on a machine with one node the same as `one`
  per_worker,  ///< one for each worker
};

[[nodiscard]] std::string to_string(Replicas replicas);
/// "one", "per-numa" or "per-worker". Throws: UsageError for another name.
[[nodiscard]] Replicas replicas_named(const std::string& name);

/// A copy of the trainable parameters that a worker, or several, train in place of the shared ones (the center), and
/// that is merged into the center every few steps. So workers of different replicas meet in a cache line so much more
/// rarely, and see each other's steps so much later.
///
/// A merge adds to the center what was added to the replica since its last merge, and makes the replica a copy of the
/// center. Deltas are summed, not averaged: a step counts as much as it does without replicas.
///
/// Sharing: one object a worker; the replica behind it may be several workers', of which one merges at a time.
/// Owns: a share of the replica.
/// Source: Zhang and Ré, "DimmWitted", VLDB 2014, for replicas per core and node; Zhang, Hsieh and Akella, "HogWild++",
/// ICDM 2016, for the exchange of deltas.
class Replica {
 public:
  struct Options {
    int merge_every = 1;  ///< steps of a worker
    kernels::Write to_center = kernels::Write::plain;
    kernels::Write to_replica = kernels::Write::plain;  ///< atomic where several workers share it and none may lose
  };

  /// Memory for a replica of `numel` parameters, and twice their size: for the replica, and for what it was last.
  [[nodiscard]] static Arena make_memory(std::int64_t numel);

  /// Joins the replica in `memory`, which becomes a copy of the center when the first worker does.
  ///
  /// `center`: 1-D float32; of it the slices are parameters. `claimed` counts the steps that all workers have begun.
  Replica(Arena memory, at::Tensor center, std::span<const FlatSlice> slices, const std::atomic<std::uint64_t>& claimed,
          const Options& options);

  /// The copy, laid out as the center.
  [[nodiscard]] const at::Tensor& parameters() const noexcept { return parameters_; }

  /// A step begins that has been counted in `claimed`. Returns how many of the steps before it the replica may hold:
  /// those up to its last merge, and its own since.
  [[nodiscard]] std::uint64_t begin_step() noexcept;
  /// Merges after every `merge_every` calls; not when another worker is at it.
  void end_step();
  /// Merges now. Waits for another worker that is at it.
  void merge();

 private:
  struct Head;

  void merge_locked();

  Arena memory_;
  Head* head_;
  at::Tensor center_;
  at::Tensor parameters_;
  at::Tensor base_;
  std::vector<FlatSlice> slices_;
  const std::atomic<std::uint64_t>* claimed_;
  Options options_;
  int steps_ = 0;  // of this worker since it saw to a merge
};

}  // namespace hogpen
