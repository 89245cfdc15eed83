#include "runtime/work/pool_state.h"

#include <algorithm>

#include "runtime/work/named_task.h"

namespace hogpen {
namespace {

void run_chunk(JobTable& table, std::uint32_t worker, const Claim& claim) {
  const JobSlot& job = table.slot(claim.slot);
  const std::uint64_t first = claim.chunk * job.chunk_size;
  ItemRange range{.job = job, .first = first, .last = std::min(first + job.chunk_size, job.items), .current = first};
  try {
    const auto* name = reinterpret_cast<const char*>(job.closure);
    const RunItems run = job.task == 0 ? job.run : detail::find_runner(name, job.task);
    run(range);
    table.finish(worker, claim, ChunkState::done);
  } catch (...) {
    report_failure(table, claim, describe_current_exception(range.current));
    table.finish(worker, claim, ChunkState::failed);
  }
}

}  // namespace

void report_failure(JobTable& table, const Claim& claim, const Failure& failure) noexcept {
  try {
    drop_parcel(static_cast<Parcel>(table.offer_failure(claim, static_cast<std::uint32_t>(failure.to_parcel()))));
  } catch (...) {
    // Without memory for the reason, that it failed is still told.
  }
}

void run_pool_worker(PoolState& pool, std::uint32_t worker, std::uint64_t most_tasks) {
  JobTable& table = pool.table;
  WorkerPlace& place = table.place(worker);
  place.stage.store(WorkerPlace::ready);
  for (std::uint64_t tasks = 0; most_tasks == 0 || tasks < most_tasks; ++tasks) {
    std::optional<Claim> claim;
    bool is_over = false;
    table.work.wait(
        [&] {
          is_over = pool.phase.load() == PoolState::terminated || pool.is_broken.load() != 0;
          if (is_over) return true;
          const bool is_closed = pool.phase.load() == PoolState::closed;  // before the last look for work
          claim = table.claim(worker);
          is_over = !claim && is_closed;
          return claim || is_over;
        },
        Deadline::never());
    if (is_over) return place.stage.store(WorkerPlace::left);
    place.since.store(monotonic_nanoseconds());
    run_chunk(table, worker, *claim);
    place.since.store(0);
  }
  place.stage.store(WorkerPlace::spent);
}

}  // namespace hogpen
