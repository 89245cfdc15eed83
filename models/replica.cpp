#include "models/replica.h"

#include <fmt/format.h>

#include <new>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

// Relaxed: counts of steps, for a statistic; they order nothing.
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

/// What the workers of one replica share beside its parameters.
struct Replica::Head {
  Mutex merging;
  alignas(64) std::atomic<std::uint64_t> merged_at{0};  ///< how many steps all workers had begun at the last merge
  std::atomic<std::uint64_t> begun{0};                  ///< steps begun on the replica since
};

std::string to_string(Replicas replicas) {
  switch (replicas) {
    case Replicas::one:
      return "one";
    case Replicas::per_numa:
      return "per-numa";
    case Replicas::per_worker:
      return "per-worker";
  }
  return "?";
}

Replicas replicas_named(const std::string& name) {
  for (const Replicas replicas : {Replicas::one, Replicas::per_numa, Replicas::per_worker}) {
    if (name == to_string(replicas)) return replicas;
  }
  throw UsageError(fmt::format("unknown replicas '{}'", name), "one of one, per-numa, per-worker");
}

Arena Replica::make_memory(std::int64_t numel) {
  const std::vector<TensorSpec> specs = {{"head", c10::kByte, {static_cast<std::int64_t>(sizeof(Head))}},
                                         {"parameters", c10::kFloat, {numel}},
                                         {"base", c10::kFloat, {numel}}};
  Arena memory = Arena::create("replica", specs);
  new (memory.tensor("head").mutable_data_ptr()) Head;
  return memory;
}

Replica::Replica(Arena memory, at::Tensor center, std::span<const FlatSlice> slices,
                 const std::atomic<std::uint64_t>& claimed, const Options& options)
    : memory_(std::move(memory)),
      head_(static_cast<Head*>(memory_.tensor("head").mutable_data_ptr())),
      center_(std::move(center)),
      parameters_(memory_.tensor("parameters")),
      base_(memory_.tensor("base")),
      slices_(slices.begin(), slices.end()),
      claimed_(&claimed),
      options_(options) {
  require(parameters_.sizes() == center_.sizes(), "a replica must have the {} parameters of its center, not {}",
          center_.numel(), parameters_.numel());
  merge();  // Fresh memory is zero, and so is its base: it gains all that the center has.
}

std::uint64_t Replica::begin_step() noexcept {
  return head_->merged_at.load(kRelaxed) + head_->begun.fetch_add(1, kRelaxed);
}

void Replica::end_step() {
  if (++steps_ < options_.merge_every) return;
  steps_ = 0;  // Whoever is merging now takes this worker's steps along, or all but a few of the last one.
  if (const auto guard = head_->merging.lock(Deadline::after({}))) merge_locked();
}

void Replica::merge() {
  steps_ = 0;
  const auto guard = head_->merging.lock();
  merge_locked();
}

// A worker that was killed at it left the parameters before some place merged, and those behind it not: both are as
// they should be. At the place itself a vector of deltas may be lost or count twice, which is noise.
void Replica::merge_locked() {
  head_->merged_at.store(claimed_->load(kRelaxed), kRelaxed);
  head_->begun.store(0, kRelaxed);
  for (const FlatSlice& slice : slices_) {
    kernels::merge(options_.to_center, options_.to_replica, center_.mutable_data_ptr<float>() + slice.offset,
                   parameters_.mutable_data_ptr<float>() + slice.offset, base_.mutable_data_ptr<float>() + slice.offset,
                   static_cast<std::size_t>(slice.numel));
  }
}

}  // namespace hogpen
