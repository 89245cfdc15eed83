#include "runtime/process/worker.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

// A waiter looks up this often, in case the process that should wake it has died.
constexpr auto kLookUp = 50ms;
// Relaxed: a worker's own counters and its heartbeat are read for display; they order nothing.
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

bool Worker::should_stop() const noexcept {
  // Relaxed: whether it is seen one step sooner or later does not matter, and it publishes no data.
  return control_.header().should_stop.load(kRelaxed) != 0;
}

void Worker::stop_all() noexcept {
  control_.header().should_stop.store(1, kRelaxed);
}

bool Worker::workers_are_done() const noexcept {
  return control_.header().workers_done.load(std::memory_order_acquire) != 0;
}

void Worker::wait_for_start() {
  ControlHeader& header = control_.header();
  slot().state.store(WorkerState::starting);
  bool all_here = true;
  for (int rank = 0; rank < world_size(); ++rank) {
    all_here = all_here && control_.slot(rank).state.load() != WorkerState::absent;
  }
  if (all_here) {  // The last one to come sees all others: stores and loads above are sequentially consistent.
    header.started.store(1);
    futex_wake_all(header.started);
  }
  while (header.started.load() == 0 && !should_stop()) {
    beat();
    futex_wait(header.started, 0, Deadline::after(kLookUp));
  }
  slot().state.store(WorkerState::running);
  beat();
  pause_point();
}

void Worker::wait_for_others() {
  FutexWord& started = control_.header().started;
  while (started.load() == 0 && !should_stop() && !workers_are_done()) {
    futex_wait(started, 0, Deadline::after(kLookUp));
  }
}

std::optional<std::uint64_t> Worker::claim(std::uint64_t end) noexcept {
  // Relaxed: the number alone is handed out; the data it stands for has not changed since before the fork.
  std::atomic<std::uint64_t>& cursor = control_.header().cursor;
  std::uint64_t chunk = cursor.load(kRelaxed);
  while (chunk < end) {
    if (cursor.compare_exchange_weak(chunk, chunk + 1, kRelaxed)) return chunk;
  }
  return std::nullopt;
}

void Worker::step_done(std::uint64_t samples, double loss, std::uint64_t staleness) noexcept {
  WorkerSlot& mine = slot();
  mine.steps.store(mine.steps.load(kRelaxed) + 1, kRelaxed);
  mine.samples.store(mine.samples.load(kRelaxed) + samples, kRelaxed);
  mine.loss.store(loss, kRelaxed);
  mine.staleness.store(mine.staleness.load(kRelaxed) + staleness, kRelaxed);
  if (staleness > mine.most_stale.load(kRelaxed)) mine.most_stale.store(staleness, kRelaxed);
  beat();
  if (mine.first_step.load(kRelaxed) == 0) mine.first_step.store(mine.heartbeat.load(kRelaxed), kRelaxed);
}

void Worker::step_skipped(double loss) noexcept {
  WorkerSlot& mine = slot();
  mine.skipped.store(mine.skipped.load(kRelaxed) + 1, kRelaxed);
  mine.loss.store(loss, kRelaxed);
  beat();
}

void Worker::pause_point(const std::function<void()>& before_pause) {
  FutexWord& pause = control_.header().pause;
  while (pause.load() != 0 && !should_stop()) {
    if (before_pause) before_pause();
    slot().state.store(WorkerState::paused);
    while (pause.load() != 0 && !should_stop()) {
      futex_wait(pause, 1, Deadline::after(kLookUp));
      beat();
    }
    // A new pause may have begun in between: it must not see a paused worker that has gone on.
    slot().state.store(WorkerState::running);
  }
}

void Worker::beat() const noexcept {
  slot().heartbeat.store(Deadline::Clock::now().time_since_epoch().count(), kRelaxed);
}

}  // namespace hogpen
