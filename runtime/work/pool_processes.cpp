#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/process/process.h"
#include "runtime/process/thread_budget.h"
#include "runtime/work/pool_host.h"
#include "runtime/work/serve_pool.h"

namespace hogpen {
namespace {

using std::chrono::milliseconds;

constexpr int kMostDeathsInARow = 10;  // of workers that came to no task

// Runs in a process of its own, forked from the pool's owner: starts the workers, replaces those that end, and gives
// back what a dead one held.
class PoolSupervisor {
 public:
  PoolSupervisor(const Shared<PoolState>& pool, const PoolOptions& options, int commands)
      : shared_(pool),
        pool_(*pool),
        table_(pool_.table),
        options_(options),
        commands_(commands),
        workers_(table_.workers()) {}

  void run() {
    for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) start(worker);
    while (wait()) {
      if (pool_.phase.load() == PoolState::terminated || pool_.is_broken.load() != 0) break;
      for (std::uint32_t worker = 0; worker < workers_.size(); ++worker) look_after(worker);
    }
    workers_.clear();  // kills and reaps
  }

 private:
  struct Watched {
    Process process;
    std::int64_t timed_out = 0;  // when the task began for which it is killed
  };

  void start(std::uint32_t worker) {
    const int threads = options_.threads_per_worker > 0
                            ? options_.threads_per_worker
                            : std::max(1, default_workers() / static_cast<int>(workers_.size()));
    workers_[worker].emplace(Watched{Process::start([this, worker, threads] { run_worker(worker, threads); },
                                                    {.name = fmt::format("hogpen-pool-{}", worker),
                                                     .rank = static_cast<int>(worker),
                                                     .threads = threads,
                                                     .ignore_stop_signals = true})});
    table_.place(worker).pid.store(workers_[worker]->process.pid());
  }

  void run_worker(std::uint32_t worker, int threads) {
    const std::uint64_t most_tasks = options_.max_tasks_per_worker;
    if (!options_.program.empty()) execute_pool_worker(options_.program, shared_, worker, most_tasks, threads);
    if (options_.initializer) options_.initializer();
    run_pool_worker(pool_, worker, most_tasks);
  }

  // Until a worker ends, a command comes or a task has run too long. False once all workers have ended.
  bool wait() {
    std::vector<pollfd> watched = {{.fd = commands_, .events = POLLIN, .revents = 0}};
    for (const auto& worker : workers_) {
      if (worker) watched.push_back({.fd = worker->process.sentinel(), .events = POLLIN, .revents = 0});
    }
    if (watched.size() == 1) return false;
    const bool has_timeout = options_.task_timeout > milliseconds::zero();
    const int tick =
        has_timeout ? static_cast<int>(std::clamp<std::int64_t>(options_.task_timeout.count() / 4, 1, 50)) : -1;
    if (::poll(watched.data(), watched.size(), tick) < 0 && errno != EINTR) throw SystemError("poll of workers", errno);
    return true;
  }

  void look_after(std::uint32_t worker) {
    if (!workers_[worker]) return;
    Watched& watched = *workers_[worker];
    if (const auto exit = watched.process.wait(Deadline::after(milliseconds::zero()))) return replace(worker, *exit);
    const std::int64_t since = table_.place(worker).since.load();
    const auto limit = std::chrono::nanoseconds(options_.task_timeout).count();
    if (limit == 0 || since == 0 || monotonic_nanoseconds() - since <= limit || watched.timed_out != 0) return;
    watched.timed_out = since;
    watched.process.kill();
  }

  void replace(std::uint32_t worker, const WorkerExit& exit) {
    const WorkerPlace::Stage stage = table_.place(worker).stage.load();
    const auto claim = table_.chunk_of_the_dead(worker);
    // It may have begun its next task before the signal came.
    const bool has_timed_out = table_.place(worker).since.load() == workers_[worker]->timed_out;
    if (claim) give_back(*claim, exit, workers_[worker]->timed_out != 0 && has_timed_out);
    table_.clear_place(worker);
    release_shares_of_the_dead();
    const bool is_closed = pool_.phase.load() != PoolState::open;
    workers_[worker].reset();
    if (is_closed && stage == WorkerPlace::left) return;
    deaths_in_a_row_ = stage == WorkerPlace::starting ? deaths_in_a_row_ + 1 : 0;
    const bool has_failed_by_itself = stage == WorkerPlace::starting && exit.signal != SIGKILL;
    if ((options_.initializer || !options_.program.empty()) && has_failed_by_itself) {
      const char* what = options_.initializer ? "initializer" : "program";
      return pool_.break_because(fmt::format("the {} of a pool worker failed: {}", what, exit.describe()));
    }
    if (deaths_in_a_row_ >= kMostDeathsInARow) {
      return pool_.break_because("the workers of a pool die before their first task: " + exit.describe());
    }
    start(worker);
  }

  void give_back(const Claim& claim, const WorkerExit& exit, bool has_timed_out) {
    drop_parcel(static_cast<Parcel>(table_.withdraw_failure(claim)));
    if (!has_timed_out && table_.free_again(claim, options_.retries)) return;
    const std::uint64_t first = claim.chunk * table_.slot(claim.slot).chunk_size;
    Failure failure{.kind = Failure::Kind::worker_died, .index = first, .type = {}, .exit = exit};
    if (has_timed_out) {
      failure.kind = Failure::Kind::timed_out;
      failure.exit.message =
          fmt::format("the task at index {} ran longer than {} ms and was stopped: worker {} (pid {}) was killed",
                      first, options_.task_timeout.count(), exit.rank, exit.pid);
    }
    report_failure(table_, claim, failure);
    table_.fail(claim);
  }

  const Shared<PoolState>& shared_;
  PoolState& pool_;
  JobTable& table_;
  const PoolOptions& options_;
  int commands_;
  std::vector<std::optional<Watched>> workers_;
  int deaths_in_a_row_ = 0;
};

class ProcessHost final : public PoolHost {
 public:
  ProcessHost(const Shared<PoolState>& pool, const PoolOptions& options)
      : pool_(pool),
        commands_(syscall_ok(::eventfd(0, EFD_CLOEXEC), "eventfd")),
        supervisor_(Process::start([&] { PoolSupervisor(pool_, options, commands_.get()).run(); },
                                   {.name = "hogpen-pool", .ignore_stop_signals = true})) {}
  ~ProcessHost() override { terminate(); }

  bool join(Deadline deadline) override { return supervisor_.wait(deadline).has_value(); }

  void terminate() override {
    pool_->phase.store(PoolState::terminated);
    ::eventfd_write(commands_.get(), 1);
    supervisor_.signal(SIGCONT);
    if (supervisor_.wait(Deadline::after(kPatience))) return;
    supervisor_.kill();  // Its workers die with it, a moment later.
    (void)supervisor_.wait(Deadline::never());
    const Deadline deadline = Deadline::after(kPatience);
    while (a_worker_lives() && !deadline.has_passed()) std::this_thread::sleep_for(milliseconds(1));
  }

  void check() override {
    const auto exit = supervisor_.wait(Deadline::after(milliseconds::zero()));
    if (exit && !exit->ok()) throw WorkerError(*exit, "this was the supervisor of a pool: make a new pool");
  }

 private:
  static constexpr std::chrono::seconds kPatience{5};

  [[nodiscard]] bool a_worker_lives() const {
    for (std::uint32_t worker = 0; worker < pool_->table.workers(); ++worker) {
      const int pid = pool_->table.place(worker).pid.load();
      if (pid != 0 && ::kill(pid, 0) == 0) return true;
    }
    return false;
  }

  Shared<PoolState> pool_;
  Fd commands_;
  Process supervisor_;
};

}  // namespace

std::unique_ptr<PoolHost> start_pool_processes(const Shared<PoolState>& pool, const PoolOptions& options) {
  return std::make_unique<ProcessHost>(pool, options);
}

}  // namespace hogpen
