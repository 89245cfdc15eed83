#include "runtime/work/pool_core.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "runtime/process/thread_budget.h"
#include "runtime/work/task_error.h"

namespace hogpen {
namespace {

constexpr std::size_t kAlignment = 64;

constexpr std::size_t aligned(std::size_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint32_t number_of_workers(const PoolOptions& options) {
  require(options.workers >= 0 && options.workers <= static_cast<int>(JobTable::kMostWorkers),
          "a pool must have 1 to {} workers, or 0 for as many as CPUs, not {}", JobTable::kMostWorkers,
          options.workers);
  require(options.retries < 256, "a task must be tried again less than 256 times, not {}", options.retries);
  require(options.workers_as == WorkersAs::processes || options.task_timeout == std::chrono::milliseconds::zero(),
          "task_timeout needs workers that are processes: a thread cannot be stopped");
  require(options.program.empty() || options.workers_as == WorkersAs::processes,
          "workers that execute a program must be processes");
  require(options.program.empty() || !options.initializer,
          "an initializer must run in this program: what workers of the program {} begin with stands in its main",
          options.program.empty() ? "" : options.program[0]);
  return static_cast<std::uint32_t>(options.workers > 0 ? options.workers : default_workers());
}

}  // namespace

Job::Job(JobPlan plan) : plan_(std::move(plan)) {
  require(plan_.chunk_size > 0, "chunk_size must be at least 1");
  chunks_ = plan_.items / plan_.chunk_size + (plan_.items % plan_.chunk_size != 0);
  require(chunks_ < (std::uint64_t{1} << 32), "a job must have less than 2^32 chunks, not {}: use a larger chunk_size",
          chunks_);
  is_finished_ = chunks_ == 0;
  for (const BlockId block : plan_.blocks) retain(block);
}

Job::~Job() {
  for (const BlockId block : plan_.blocks) release(block);
  drop_parcel(failure_);
  if (!plan_.has_parcels || !output_) return;
  const auto* parcels = reinterpret_cast<const Parcel*>(output_);
  std::for_each(parcels, parcels + plan_.items, drop_parcel);
}

void Job::move_into(JobSlot& slot) {
  const std::size_t input_begin = aligned(chunks_ * sizeof(std::uint32_t));
  const std::size_t output_begin = input_begin + aligned(plan_.input_bytes);
  const std::size_t bytes = output_begin + plan_.output_bytes;
  std::byte* payload = slot.payload;
  if (bytes > JobSlot::kInlineBytes) {
    payload_ = SharedBlock::allocate(bytes);
    payload = payload_.data();
  }
  std::memset(payload, 0, chunks_ * sizeof(std::uint32_t));
  slot.run = plan_.run;
  slot.task = plan_.task;
  slot.items = plan_.items;
  slot.chunk_size = plan_.chunk_size;
  slot.chunks = chunks_;
  slot.states = reinterpret_cast<std::atomic<std::uint32_t>*>(payload);
  slot.input = payload + input_begin;
  slot.output = payload + output_begin;
  std::memcpy(slot.closure, plan_.closure.data(), plan_.closure.size());
  if (plan_.has_parcels) std::memset(slot.output, 0, plan_.output_bytes);
  if (plan_.write_input) plan_.write_input(slot.input);
  plan_.write_input = {};
  slot.cursor.store(0, std::memory_order_relaxed);  // Relaxed: `JobTable::open` publishes both.
  slot.failure.store(0, std::memory_order_relaxed);
}

bool Job::look_at(const JobSlot& slot) {
  for (; final_chunks_ < chunks_; ++final_chunks_) {
    const ChunkState state = ChunkState::of(slot.states[final_chunks_].load());
    if (!state.is_final()) return false;
    has_failed_ |= state.status == ChunkState::failed;
    was_cancelled_ |= state.status == ChunkState::cancelled;
  }
  return true;
}

void Job::move_out_of(const JobSlot& slot) {
  failure_ = static_cast<Parcel>(slot.failure.load() & 0xffffffff);
  output_ = slot.output;
  if (payload_.empty()) {
    copied_output_ = std::make_unique<std::byte[]>(plan_.output_bytes);
    std::memcpy(copied_output_.get(), slot.output, plan_.output_bytes);
    output_ = copied_output_.get();
  }
  is_finished_ = true;
}

void Job::require_success() const {
  if (failure_ != Parcel::none) Failure::from(failure_).raise();
  if (has_failed_)
    throw Error("a task failed, and there was no memory to tell why", "free memory, or use fewer workers");
  if (was_cancelled_) throw CancelledError("the task was cancelled, or its pool terminated, before it was done");
}

PoolCore::PoolCore(PoolOptions options)
    : options_(std::move(options)), pool_(number_of_workers(options_)), free_slots_(JobTable::kSlots) {
  std::iota(free_slots_.begin(), free_slots_.end(), 0u);
  host_ = options_.workers_as == WorkersAs::processes ? start_pool_processes(pool_, options_)
                                                      : start_pool_threads(pool_, options_);
}

PoolCore::~PoolCore() {
  terminate();
}

std::shared_ptr<Job> PoolCore::submit(JobPlan plan) {
  require(options_.program.empty() || plan.task != 0,
          "a task for workers that execute another program must be a NamedTask: no function of this one is there");
  auto job = std::make_shared<Job>(std::move(plan));
  if (job->is_finished_) return job;
  std::unique_lock lock(mutex_);
  job->slot_ = free_slot(lock);
  require(pool_->phase.load() == PoolState::open, "a pool takes no task after it was closed or terminated");
  job->move_into(pool_->table.slot(job->slot_));
  free_slots_.pop_front();
  active_.push_back(job);
  pool_->table.open(job->slot_, ++last_ticket_);
  return job;
}

std::uint32_t PoolCore::free_slot(std::unique_lock<std::mutex>& lock) {
  while (free_slots_.empty()) {
    collect_all();
    if (!free_slots_.empty()) break;
    lock.unlock();
    (void)wait_until(
        [this] {
          const std::lock_guard relock(mutex_);
          collect_all();
          return !free_slots_.empty();
        },
        Deadline::never());
    lock.lock();
  }
  return free_slots_.front();
}

bool PoolCore::collect(Job& job) {
  if (job.is_finished_) return true;
  const JobSlot& slot = pool_->table.slot(job.slot_);
  if (!job.look_at(slot)) return false;
  job.move_out_of(slot);
  if (job.callback_) due_.push_back(std::exchange(job.callback_, {}));
  retiring_.emplace_back(job.slot_, job.payload_);
  retire_finished();
  std::erase_if(active_, [&](const auto& other) { return other.get() == &job; });
  return true;
}

void PoolCore::collect_all() {
  const auto jobs = active_;  // `collect` changes it
  for (const auto& job : jobs) (void)collect(*job);
  retire_finished();
}

void PoolCore::retire_finished() {
  std::erase_if(retiring_, [this](const auto& retired) {
    const bool is_over = pool_->table.retire(retired.first);
    if (is_over) free_slots_.push_back(retired.first);
    return is_over;
  });
}

template <class Ready>
bool PoolCore::wait_until(Ready ready, Deadline deadline) {
  while (!pool_->table.completed.wait(ready, std::min(deadline, Deadline::after(WaitPoint::kLongestSleep)))) {
    if (deadline.has_passed()) return false;
    require_usable();
  }
  return true;
}

void PoolCore::require_usable() {
  if (pool_->is_broken.load() != 0) throw Error(pool_->why_broken.text(), "make a new pool");
  const std::lock_guard lock(host_mutex_);
  host_->check();
}

bool PoolCore::wait(Job& job, Deadline deadline) {
  const bool is_there = wait_until([&] { return is_finished(job); }, deadline);
  run_due_callbacks();
  return is_there;
}

std::size_t PoolCore::wait_any(std::span<const std::shared_ptr<Job>> jobs, Deadline deadline) {
  std::size_t finished = jobs.size();
  (void)wait_until(
      [&] {
        const std::lock_guard lock(mutex_);
        const auto found = std::find_if(jobs.begin(), jobs.end(), [this](const auto& job) { return collect(*job); });
        finished = static_cast<std::size_t>(found - jobs.begin());
        return found != jobs.end();
      },
      deadline);
  run_due_callbacks();
  return finished;
}

bool PoolCore::is_finished(Job& job) {
  const std::lock_guard lock(mutex_);
  return collect(job);
}

bool PoolCore::cancel(Job& job) {
  const std::lock_guard lock(mutex_);
  return !job.is_finished_ && pool_->table.cancel(job.slot_);
}

void PoolCore::set_callback(Job& job, std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  if (job.is_finished_) {
    due_.push_back(std::move(callback));
  } else {
    job.callback_ = std::move(callback);
  }
}

void PoolCore::poll() {
  {
    const std::lock_guard lock(mutex_);
    collect_all();
  }
  run_due_callbacks();
}

void PoolCore::run_due_callbacks() {
  for (;;) {
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      if (due_.empty()) return;
      callback = std::move(due_.front());
      due_.erase(due_.begin());
    }
    callback();
  }
}

void PoolCore::close() {
  const std::lock_guard lock(mutex_);  // not between a submit's look at the phase and its opening of the job
  PoolState::Phase open = PoolState::open;
  pool_->phase.compare_exchange_strong(open, PoolState::closed);
  pool_->table.work.notify();
}

void PoolCore::terminate() {
  {
    const std::lock_guard lock(host_mutex_);
    host_->terminate();
  }
  const std::lock_guard lock(mutex_);
  collect_all();
  for (const auto& job : active_) {  // No worker is left that could finish them.
    job->move_out_of(pool_->table.slot(job->slot_));
    job->was_cancelled_ = true;
    job->callback_ = {};  // which holds the job
  }
  active_.clear();
  pool_->table.completed.notify();
}

bool PoolCore::join(Deadline deadline) {
  require(pool_->phase.load() != PoolState::open, "a pool must be closed or terminated before it is joined");
  if (pool_->phase.load() == PoolState::closed) {
    const bool all_done = wait_until(
        [this] {
          const std::lock_guard lock(mutex_);
          collect_all();
          return active_.empty();
        },
        deadline);
    run_due_callbacks();
    if (!all_done) return false;
  }
  const std::lock_guard lock(host_mutex_);
  return host_->join(deadline);
}

std::vector<int> PoolCore::worker_pids() const {
  std::vector<int> pids;
  for (std::uint32_t worker = 0; worker < workers(); ++worker) pids.push_back(pool_->table.place(worker).pid.load());
  return pids;
}

}  // namespace hogpen
