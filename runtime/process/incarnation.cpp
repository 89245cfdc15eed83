#include "runtime/process/incarnation.h"

#include <ATen/Parallel.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <mutex>
#include <thread>
#include <utility>

#include "runtime/process/affinity.h"
#include "runtime/process/process.h"

namespace hogpen::detail {
namespace {

class ProcessIncarnation final : public Incarnation {
 public:
  ProcessIncarnation(ControlBlock& control, int rank, int threads, std::vector<int> cpus, const WorkerBody& body)
      : process_(Process::start(
            [&] {
              Worker worker(control, rank);
              body(worker);
            },
            {.name = rank < control.workers() ? fmt::format("hogpen-{}", rank) : "hogpen-keeper",
             .rank = rank,
             .threads = threads,
             .cpus = std::move(cpus),
             .report = &control.slot(rank).report,
             .ignore_stop_signals = true})) {
    control.slot(rank).pid.store(process_.pid());
  }

  [[nodiscard]] int sentinel() const noexcept override { return process_.sentinel(); }
  [[nodiscard]] WorkerExit collect() override { return process_.wait(Deadline::never()).value(); }
  bool kill() noexcept override {
    process_.signal(SIGKILL);
    return true;
  }

 private:
  Process process_;
};

/// For the calling thread. One at a time: in a child that was forked, LibTorch first makes its pool of threads anew,
/// and another thread would find none.
void limit_libtorch(int threads) {
  static std::mutex mutex;
  const std::lock_guard guard(mutex);
  at::set_num_threads(threads);
}

class ThreadIncarnation final : public Incarnation {
 public:
  ThreadIncarnation(std::shared_ptr<ControlBlock> control, int rank, int threads, std::vector<int> cpus,
                    const WorkerBody& body)
      : state_(std::make_shared<State>()), rank_(rank), control_(std::move(control)) {
    state_->ended = Fd(syscall_ok(::eventfd(0, EFD_CLOEXEC), "eventfd"));
    control_->slot(rank).report.clear();
    // The thread owns all it uses: it may outlive the supervisor that gave up on it.
    thread_ = std::thread([state = state_, shared = control_, rank, threads, cpus = std::move(cpus), body] {
      limit_libtorch(threads);
      state->exit_code = run_and_report(
          [&] {
            if (!cpus.empty()) set_affinity(cpus);
            Worker worker(*shared, rank);
            body(worker);
          },
          shared->slot(rank).report);
      ::eventfd_write(state->ended.get(), 1);
    });
  }
  ThreadIncarnation(const ThreadIncarnation&) = delete;
  ThreadIncarnation& operator=(const ThreadIncarnation&) = delete;
  ~ThreadIncarnation() override {
    if (thread_.joinable()) thread_.detach();
  }

  [[nodiscard]] int sentinel() const noexcept override { return state_->ended.get(); }
  [[nodiscard]] WorkerExit collect() override {
    thread_.join();
    return {.rank = rank_,
            .pid = 0,
            .exit_code = state_->exit_code,
            .signal = {},
            .message = control_->slot(rank_).report.text()};
  }
  bool kill() noexcept override { return false; }

 private:
  struct State {
    Fd ended;
    int exit_code = 0;
  };
  std::shared_ptr<State> state_;
  int rank_;
  std::shared_ptr<ControlBlock> control_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Incarnation> start_incarnation(WorkersAs workers_as, std::shared_ptr<ControlBlock> control, int rank,
                                               int threads, std::vector<int> cpus, const WorkerBody& body) {
  if (workers_as == WorkersAs::threads) {
    return std::make_unique<ThreadIncarnation>(std::move(control), rank, threads, std::move(cpus), body);
  }
  return std::make_unique<ProcessIncarnation>(*control, rank, threads, std::move(cpus), body);
}

}  // namespace hogpen::detail
