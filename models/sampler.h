#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hogpen {

/// The order in which samples are trained: a new permutation each epoch, cut into batches that are numbered through all
/// epochs. Every worker computes the same order, and claims batches by number.
///
/// Sharing: one object a worker. Owns: one permutation.
class EpochSampler {
 public:
  /// Throws: UsageError unless 1 <= samples < 2^32 and batch_size >= 1.
  EpochSampler(std::int64_t samples, std::int64_t batch_size, std::uint64_t seed);

  /// The last batch of an epoch may be smaller.
  [[nodiscard]] std::int64_t batches_per_epoch() const noexcept { return batches_per_epoch_; }

  /// The samples of a batch. Valid until the next call.
  [[nodiscard]] std::span<const std::uint32_t> batch(std::uint64_t number);

 private:
  void shuffle(std::uint64_t epoch);

  std::vector<std::uint32_t> order_;
  std::int64_t batch_size_;
  std::int64_t batches_per_epoch_;
  std::uint64_t seed_;
  std::uint64_t epoch_;
};

}  // namespace hogpen
