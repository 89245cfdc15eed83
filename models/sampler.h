#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hogpen {

/// A permutation of 0 … size - 1 that is computed number by number, so that it takes no memory and no time before its
/// first number.
///
/// Sharing: a value; const calls from any thread.
/// Source: a Feistel network over the smallest power of two that holds `size`, walked until it ends below `size`
/// (Black, Rogaway: Ciphers with Arbitrary Finite Domains, CT-RSA 2002), as TensorFlow's and Grain's index_shuffle do.
class Permutation {
 public:
  /// The same for the same arguments. Requires: 1 <= size < 2^32.
  Permutation(std::uint32_t size, std::uint64_t seed, std::uint64_t number) noexcept;

  /// Writes the numbers at the places from `begin` on. Requires: begin + out.size() <= size.
  void numbers(std::uint32_t begin, std::span<std::uint32_t> out) const noexcept;

 private:
  static constexpr std::size_t kRounds = 8;

  void encipher(std::span<std::uint32_t> numbers) const noexcept;

  std::uint32_t size_;
  int low_bits_;
  int high_bits_;
  std::array<std::uint64_t, kRounds> keys_ = {};
};

/// The order in which samples are trained: a new permutation each epoch, cut into batches that are numbered through all
/// epochs. Every worker computes the same order, and claims batches by number.
///
/// Sharing: one object a worker. Owns: one batch's numbers.
class EpochSampler {
 public:
  /// Throws: UsageError unless 1 <= samples < 2^32 and batch_size >= 1.
  EpochSampler(std::int64_t samples, std::int64_t batch_size, std::uint64_t seed);

  /// The last batch of an epoch may be smaller.
  [[nodiscard]] std::int64_t batches_per_epoch() const noexcept { return batches_per_epoch_; }

  /// How many samples a batch has.
  [[nodiscard]] std::int64_t size_of_batch(std::uint64_t number) const noexcept;
  /// The samples of a batch. Valid until the next call.
  [[nodiscard]] std::span<const std::uint32_t> batch(std::uint64_t number);

 private:
  [[nodiscard]] std::int64_t begin_of(std::uint64_t number) const noexcept;

  std::int64_t samples_;
  std::int64_t batch_size_;
  std::int64_t batches_per_epoch_;
  std::uint64_t seed_;
  std::uint64_t epoch_ = 0;
  Permutation permutation_;  // of `epoch_`
  std::vector<std::uint32_t> batch_;
};

}  // namespace hogpen
