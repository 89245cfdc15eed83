#include <thread>
#include <vector>

#include "runtime/work/pool_host.h"

namespace hogpen {
namespace {

void run_thread(PoolState& pool, std::uint32_t worker, const PoolOptions& options) {
  try {
    do {  // One that has done as many tasks as it may begins anew.
      if (options.initializer) options.initializer();
      run_pool_worker(pool, worker, options.max_tasks_per_worker);
    } while (pool.table.place(worker).stage.load() == WorkerPlace::spent);
  } catch (...) {
    const Failure failure = describe_current_exception(0);
    pool.break_because(
        fmt::format("the initializer of pool worker {} threw {}: {}", worker, failure.type, failure.exit.message));
  }
}

class ThreadHost final : public PoolHost {
 public:
  ThreadHost(const Shared<PoolState>& pool, const PoolOptions& options) : pool_(pool) {
    for (std::uint32_t worker = 0; worker < pool_->table.workers(); ++worker) {
      threads_.emplace_back([this, worker, options] {
        run_thread(*pool_, worker, options);
        running_.fetch_sub(1);
        pool_->table.completed.notify();
      });
    }
  }
  ~ThreadHost() override { terminate(); }

  bool join(Deadline deadline) override {
    if (!pool_->table.completed.wait([this] { return running_.load() == 0; }, deadline)) return false;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return true;
  }

  void terminate() override {
    pool_->phase.store(PoolState::terminated);
    pool_->table.work.notify();
    (void)join(Deadline::never());
  }

  void check() override {}

 private:
  Shared<PoolState> pool_;
  std::atomic<std::uint32_t> running_{pool_->table.workers()};
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<PoolHost> start_pool_threads(const Shared<PoolState>& pool, const PoolOptions& options) {
  return std::make_unique<ThreadHost>(pool, options);
}

}  // namespace hogpen
