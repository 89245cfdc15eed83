#include "runtime/work/job_table.h"

#include <algorithm>

namespace hogpen {
namespace {

constexpr std::uint64_t kIndexMask = (std::uint64_t{1} << JobTable::kIndexBits) - 1;

std::uint64_t pack(std::uint32_t slot, std::uint64_t chunk) noexcept {
  return std::uint64_t{slot + 1} << JobTable::kIndexBits | chunk;
}

}  // namespace

void JobTable::open(std::uint32_t slot, std::uint64_t ticket) {
  slots_[slot].ticket.store(ticket);
  append(slot);
  work.notify();
}

void JobTable::append(std::uint32_t slot) {
  const auto guard = append_lock_.lock();
  std::uint64_t& entry = slots_[slot].entry;
  // One after head is stepped over only by who looks at the slot later, and so sees why it was to be appended.
  if (entry > head_.load() + 1) return;
  const std::uint64_t tail = tail_.load();
  order_[tail % kOrder].store(slot);
  entry = tail + 1;
  tail_.store(tail + 1);
}

bool JobTable::retire(std::uint32_t slot) noexcept {
  // Sequentially consistent, as the worker's store of its place and load of the ticket: one of the two sees the other.
  slots_[slot].ticket.store(0);
  return std::none_of(places_, places_ + workers_,
                      [&](const WorkerPlace& place) { return place.at.load() >> kIndexBits == slot + 1; });
}

bool JobTable::cancel(std::uint32_t slot) noexcept {
  JobSlot& job = slots_[slot];
  bool found_one = false;
  for (std::uint64_t chunk = 0; chunk < job.chunks; ++chunk) {
    std::uint32_t word = job.states[chunk].load();
    const bool is_free = ChunkState::of(word).status == ChunkState::free;
    const std::uint32_t cancelled = ChunkState{.status = ChunkState::cancelled}.word();
    found_one |= is_free && job.states[chunk].compare_exchange_strong(word, cancelled);
  }
  completed.notify();
  return found_one;
}

std::optional<Claim> JobTable::claim(std::uint32_t worker) noexcept {
  for (;;) {
    std::uint64_t head = head_.load();
    if (head == tail_.load()) return std::nullopt;
    const std::uint32_t slot = order_[head % kOrder].load();
    if (const auto chunk = claim_of(slot, worker)) return Claim{slot, *chunk};
    places_[worker].at.store(0);
    head_.compare_exchange_strong(head, head + 1);
  }
}

std::optional<std::uint64_t> JobTable::claim_of(std::uint32_t slot, std::uint32_t worker) noexcept {
  JobSlot& job = slots_[slot];
  places_[worker].at.store(pack(slot, 0));
  if (job.ticket.load() == 0) return std::nullopt;
  for (;;) {
    std::uint64_t cursor = job.cursor.load();
    const std::uint64_t chunk = cursor & kIndexMask;
    if (chunk >= job.chunks) return std::nullopt;
    places_[worker].at.store(pack(slot, chunk));  // Before the claim: a death right after it must be traceable.
    std::uint32_t word = job.states[chunk].load();
    ChunkState state = ChunkState::of(word);
    const bool was_free = state.status == ChunkState::free;
    state.status = ChunkState::running;
    state.worker = worker;
    const bool is_mine = was_free && job.states[chunk].compare_exchange_strong(word, state.word());
    job.cursor.compare_exchange_strong(cursor, cursor + 1);
    if (is_mine) return chunk;
  }
}

void JobTable::finish(std::uint32_t worker, const Claim& claim, ChunkState::Status status) noexcept {
  slots_[claim.slot].states[claim.chunk].store(ChunkState{.status = status}.word());
  places_[worker].at.store(0);
  completed.notify();
}

std::optional<Claim> JobTable::chunk_of_the_dead(std::uint32_t worker) noexcept {
  const std::uint64_t at = places_[worker].at.load();
  if (at == 0) return std::nullopt;
  const auto slot = static_cast<std::uint32_t>(at >> kIndexBits) - 1;
  const std::uint64_t chunk = at & kIndexMask;
  const JobSlot& job = slots_[slot];
  if (job.ticket.load() == 0 || chunk >= job.chunks) return std::nullopt;
  const ChunkState state = ChunkState::of(job.states[chunk].load());
  if (state.status != ChunkState::running || state.worker != worker) return std::nullopt;
  return Claim{slot, chunk};
}

bool JobTable::free_again(const Claim& claim, std::uint32_t most_attempts) {
  JobSlot& job = slots_[claim.slot];
  ChunkState state = ChunkState::of(job.states[claim.chunk].load());
  if (state.attempt >= most_attempts) return false;
  state.status = ChunkState::free;
  ++state.attempt;
  job.states[claim.chunk].store(state.word());
  std::uint64_t cursor = job.cursor.load();
  std::uint64_t repaired = 0;
  do {
    const std::uint64_t repairs = (cursor >> kIndexBits) + 1;
    repaired = repairs << kIndexBits | std::min(cursor & kIndexMask, claim.chunk);
  } while (!job.cursor.compare_exchange_weak(cursor, repaired));
  append(claim.slot);
  work.notify();
  return true;
}

void JobTable::fail(const Claim& claim) noexcept {
  slots_[claim.slot].states[claim.chunk].store(ChunkState{.status = ChunkState::failed}.word());
  completed.notify();
}

void JobTable::clear_place(std::uint32_t worker) noexcept {
  WorkerPlace& place = places_[worker];
  place.since.store(0);
  place.pid.store(0);
  place.stage.store(WorkerPlace::starting);
  place.at.store(0);
}

std::uint32_t JobTable::offer_failure(const Claim& claim, std::uint32_t block) noexcept {
  std::atomic<std::uint64_t>& kept = slots_[claim.slot].failure;
  const std::uint64_t offered = claim.chunk << 32 | block;
  std::uint64_t known = kept.load();
  while (known == 0 || offered >> 32 < known >> 32) {
    if (kept.compare_exchange_weak(known, offered)) return static_cast<std::uint32_t>(known);
  }
  return block;
}

std::uint32_t JobTable::withdraw_failure(const Claim& claim) noexcept {
  std::atomic<std::uint64_t>& kept = slots_[claim.slot].failure;
  std::uint64_t known = kept.load();
  const bool is_its = known != 0 && known >> 32 == claim.chunk;
  return is_its && kept.compare_exchange_strong(known, 0) ? static_cast<std::uint32_t>(known) : 0;
}

}  // namespace hogpen
