#include "models/sampler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {

EpochSampler::EpochSampler(std::int64_t samples, std::int64_t batch_size, std::uint64_t seed)
    : batch_size_(batch_size), seed_(seed), epoch_(std::numeric_limits<std::uint64_t>::max()) {
  require(samples >= 1 && samples <= std::numeric_limits<std::uint32_t>::max(),
          "a data set must have 1 to 2^32 - 1 samples, but has {}", samples);
  require(batch_size >= 1, "the batch size must be at least 1, but is {}", batch_size);
  order_.resize(static_cast<std::size_t>(samples));
  batches_per_epoch_ = (samples - 1) / batch_size + 1;  // The sum of both might overflow.
}

std::span<const std::uint32_t> EpochSampler::batch(std::uint64_t number) {
  const auto per_epoch = static_cast<std::uint64_t>(batches_per_epoch_);
  if (const std::uint64_t epoch = number / per_epoch; epoch != epoch_) shuffle(epoch);
  const std::size_t begin = static_cast<std::size_t>(number % per_epoch) * static_cast<std::size_t>(batch_size_);
  const std::size_t count = std::min(static_cast<std::size_t>(batch_size_), order_.size() - begin);
  return {order_.data() + begin, count};
}

// Fisher and Yates, from the identity, so that an epoch's order depends on seed and epoch alone. Not std::shuffle: its
// order differs between standard libraries.
void EpochSampler::shuffle(std::uint64_t epoch) {
  epoch_ = epoch;
  std::seed_seq seeds{seed_, seed_ >> 32, epoch, epoch >> 32};
  std::mt19937_64 random(seeds);
  std::iota(order_.begin(), order_.end(), 0u);
  for (std::size_t left = order_.size(); left > 1; --left) {
    const std::size_t pick = ((random() >> 32) * left) >> 32;
    std::swap(order_[left - 1], order_[pick]);
  }
}

}  // namespace hogpen
