#include "runtime/process/control_block.h"

#include <algorithm>
#include <new>
#include <thread>

namespace hogpen {
namespace {

constexpr std::size_t kSlotsBegin = (sizeof(ControlHeader) + alignof(WorkerSlot) - 1) & ~(alignof(WorkerSlot) - 1);

bool is_at_rest(WorkerState state) {
  return state != WorkerState::running;
}

template <class Read>
std::uint64_t sum_over_workers(const ControlBlock& control, Read read) {
  std::uint64_t sum = 0;
  for (int rank = 0; rank < control.workers(); ++rank) sum += read(control.slot(rank));
  return sum;
}

// Relaxed: progress is for people; it orders nothing.
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

ControlBlock::ControlBlock(int workers)
    : segment_(Segment::create("control", kSlotsBegin + (static_cast<std::size_t>(workers) + 1) * sizeof(WorkerSlot))) {
  new (segment_.data()) ControlHeader;
  header().workers = static_cast<std::uint32_t>(workers);
  for (int rank = 0; rank <= workers; ++rank) new (&slot(rank)) WorkerSlot;
}

WorkerSlot& ControlBlock::slot(int rank) const noexcept {
  return reinterpret_cast<WorkerSlot*>(segment_.data() + kSlotsBegin)[rank];
}

std::uint64_t ControlBlock::total_steps() const noexcept {
  return sum_over_workers(*this, [](const WorkerSlot& slot) { return slot.steps.load(kRelaxed); });
}

std::uint64_t ControlBlock::total_samples() const noexcept {
  return sum_over_workers(*this, [](const WorkerSlot& slot) { return slot.samples.load(kRelaxed); });
}

std::uint64_t ControlBlock::total_skipped() const noexcept {
  return sum_over_workers(*this, [](const WorkerSlot& slot) { return slot.skipped.load(kRelaxed); });
}

double ControlBlock::mean_loss() const noexcept {
  double sum = 0.0;
  int count = 0;
  for (int rank = 0; rank < workers(); ++rank) {
    if (slot(rank).steps.load(kRelaxed) == 0) continue;
    sum += slot(rank).loss.load(kRelaxed);
    ++count;
  }
  return count > 0 ? sum / count : 0.0;
}

std::optional<Deadline::Clock::time_point> ControlBlock::first_step() const noexcept {
  std::int64_t earliest = 0;
  for (int rank = 0; rank < workers(); ++rank) {
    const std::int64_t first = slot(rank).first_step.load(kRelaxed);
    if (first != 0 && (earliest == 0 || first < earliest)) earliest = first;
  }
  if (earliest == 0) return std::nullopt;
  return Deadline::Clock::time_point(Deadline::Clock::duration(earliest));
}

Staleness ControlBlock::staleness() const noexcept {
  Staleness all;
  for (int rank = 0; rank < workers(); ++rank) {
    all.steps += slot(rank).steps.load(kRelaxed);
    all.sum += slot(rank).staleness.load(kRelaxed);
    all.max = std::max(all.max, slot(rank).most_stale.load(kRelaxed));
  }
  return all;
}

Deadline::Clock::time_point ControlBlock::last_step() const noexcept {
  std::int64_t latest = 0;
  for (int rank = 0; rank < workers(); ++rank) latest = std::max(latest, slot(rank).heartbeat.load(kRelaxed));
  return Deadline::Clock::time_point(Deadline::Clock::duration(latest));
}

bool ControlBlock::pause_workers(Deadline deadline) {
  // Sequentially consistent, as the worker's pair (Worker::step_done): either it sees the pause, or it is seen running.
  header().pause.store(1);
  for (int rank = 0; rank < workers(); ++rank) {
    while (!is_at_rest(slot(rank).state.load())) {
      if (deadline.has_passed()) {
        resume_workers();
        return false;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  return true;
}

void ControlBlock::resume_workers() noexcept {
  header().pause.store(0);
  futex_wake_all(header().pause);
}

}  // namespace hogpen
