#include "models/sampler.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "kernels/split_mix.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

/// A round's function: `half` is of at most 16 bits, and its result's low ones depend on all of them.
std::uint32_t keyed(std::uint32_t half, std::uint64_t key) {
  const std::uint32_t product = (half ^ static_cast<std::uint32_t>(key)) * (static_cast<std::uint32_t>(key >> 32) | 1);
  return (product ^ (product >> 16)) >> 3;
}

std::uint32_t checked_samples(std::int64_t samples) {
  require(samples >= 1 && samples <= std::numeric_limits<std::uint32_t>::max(),
          "a data set must have 1 to 2^32 - 1 samples, but has {}", samples);
  return static_cast<std::uint32_t>(samples);
}

}  // namespace

Permutation::Permutation(std::uint32_t size, std::uint64_t seed, std::uint64_t number) noexcept : size_(size) {
  const int bits = std::bit_width(size - 1);
  low_bits_ = bits / 2;
  high_bits_ = bits - low_bits_;
  std::uint64_t state = kernels::split_mix(seed) ^ number;
  for (std::uint64_t& key : keys_) key = kernels::split_mix(state);
}

void Permutation::numbers(std::uint32_t begin, std::span<std::uint32_t> out) const noexcept {
  std::iota(out.begin(), out.end(), begin);
  encipher(out);
  for (std::uint32_t& number : out) {
    while (number >= size_) encipher({&number, 1});
  }
}

// The processor works on several numbers at a time, since none depends on the one before it.
void Permutation::encipher(std::span<std::uint32_t> numbers) const noexcept {
  const std::uint32_t low_mask = (1U << low_bits_) - 1;
  const std::uint32_t high_mask = (1U << high_bits_) - 1;
  for (std::uint32_t& number : numbers) {
    std::uint32_t low = number & low_mask;
    std::uint32_t high = number >> low_bits_;
    for (std::size_t round = 0; round < kRounds; round += 2) {
      low ^= keyed(high, keys_[round]) & low_mask;
      high ^= keyed(low, keys_[round + 1]) & high_mask;
    }
    number = high << low_bits_ | low;
  }
}

EpochSampler::EpochSampler(std::int64_t samples, std::int64_t batch_size, std::uint64_t seed)
    : samples_(samples), batch_size_(batch_size), seed_(seed), permutation_(checked_samples(samples), seed, 0) {
  require(batch_size >= 1, "the batch size must be at least 1, but is {}", batch_size);
  batches_per_epoch_ = (samples - 1) / batch_size + 1;  // The sum of both might overflow.
}

std::int64_t EpochSampler::begin_of(std::uint64_t number) const noexcept {
  return static_cast<std::int64_t>(number % static_cast<std::uint64_t>(batches_per_epoch_)) * batch_size_;
}

std::int64_t EpochSampler::size_of_batch(std::uint64_t number) const noexcept {
  return std::min(batch_size_, samples_ - begin_of(number));
}

std::span<const std::uint32_t> EpochSampler::batch(std::uint64_t number) {
  const auto per_epoch = static_cast<std::uint64_t>(batches_per_epoch_);
  if (const std::uint64_t epoch = number / per_epoch; epoch != epoch_) {
    epoch_ = epoch;
    permutation_ = Permutation(static_cast<std::uint32_t>(samples_), seed_, epoch);
  }
  batch_.resize(static_cast<std::size_t>(size_of_batch(number)));
  permutation_.numbers(static_cast<std::uint32_t>(begin_of(number)), batch_);
  return batch_;
}

}  // namespace hogpen
