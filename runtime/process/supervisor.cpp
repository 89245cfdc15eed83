#include "runtime/process/supervisor.h"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/core/log.h"

namespace hogpen::detail {
namespace {

constexpr int kSignalEvent = -1;  // Other events carry a rank.
constexpr auto kLookUp =
    std::chrono::milliseconds(50);  // for what makes no event: stalls, and a worker that asks for the end

// What a second signal does where threads stand in the way of an orderly end.
void die_by(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void watch(const Fd& epoll, int fd, int event_id) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = event_id}};
  syscall_ok(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

}  // namespace

Supervisor::Supervisor(const LauncherOptions& options, std::shared_ptr<ControlBlock> control, Callbacks callbacks)
    : options_(options),
      control_(std::move(control)),
      callbacks_(std::move(callbacks)),
      threads_(threads_of_worker(options)),
      epoll_(syscall_ok(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
  if (!options_.handle_signals) return;
  watch(epoll_, signals_.emplace().fd(), kSignalEvent);
}

LaunchReport Supervisor::run() {
  for (int rank = 0; rank < control_->workers(); ++rank) start(rank);
  if (callbacks_.keeper) start(control_->workers());
  const auto next_tick = [&] { return callbacks_.tick ? Deadline::after(callbacks_.period) : Deadline::never(); };
  Deadline tick_at = next_tick();
  while (!lives_.empty()) {
    wait_for_event(std::min({tick_at, Deadline::after(kLookUp), workers_end_, keepers_end_}));
    if (tick_at.has_passed()) {
      callbacks_.tick();
      tick_at = next_tick();
    }
    if (control_->header().should_stop.load() != 0) ask_to_stop();  // A worker may have asked.
    look_for_stalls();
    end_what_is_overdue();
  }
  if (failure_ && stalled_out_) throw TimeoutError(failure_->describe());
  if (failure_) throw WorkerError(*failure_);
  return std::move(report_);
}

void Supervisor::start(int rank) {
  WorkerSlot& slot = control_->slot(rank);
  slot.state.store(WorkerState::absent);
  slot.heartbeat.store(0);
  const std::uint64_t steps_before = steps_of(rank);
  Life life{.incarnation = start_incarnation(options_.workers_as, control_, rank, threads_,
                                             is_keeper(rank) ? std::vector<int>() : cpus_of_worker(options_, rank),
                                             is_keeper(rank) ? callbacks_.keeper : callbacks_.body),
            .began = Deadline::Clock::now(),
            .steps_before = steps_before};
  watch(epoll_, life.incarnation->sentinel(), rank);
  lives_[rank] = std::move(life);
}

void Supervisor::wait_for_event(Deadline deadline) {
  std::array<epoll_event, 16> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), deadline.poll_timeout());
  if (count < 0 && errno != EINTR) throw SystemError("epoll_wait", errno);
  for (int i = 0; i < count; ++i) {
    const int id = events[static_cast<std::size_t>(i)].data.fd;
    if (id == kSignalEvent) {
      on_signal();
    } else {
      on_end(id);
    }
  }
}

void Supervisor::on_signal() {
  while (const auto signal = signals_->next()) {
    if (report_.stopped_by) {  // The second one: the user will not wait.
      is_impatient_ = true;
      if (options_.workers_as == WorkersAs::threads) die_by(*signal);
      for (auto& [rank, life] : lives_) kill(rank, life, "a second signal");
      continue;
    }
    report_.stopped_by = *signal;
    log(LogLevel::info, "{}: finishing the current step and saving; once more to kill",
        signal_name(*report_.stopped_by));
    ask_to_stop();
  }
}

void Supervisor::on_end(int rank) {
  const auto found = lives_.find(rank);
  if (found == lives_.end()) return;
  Life life = std::move(found->second);
  lives_.erase(found);
  // Closing alone would not do: a child forked meanwhile holds a copy of the descriptor.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, life.incarnation->sentinel(), nullptr);
  WorkerExit exit = life.incarnation->collect();
  if (is_keeper(rank)) exit.name = "keeper";
  WorkerSlot& slot = control_->slot(rank);
  slot.pid.store(0);
  slot.state.store(exit.ok() ? WorkerState::finished : WorkerState::absent);
  if (is_keeper(rank)) control_->resume_workers();  // It may have died while they waited for it.
  if (!exit.ok()) on_failure(rank, life, std::move(exit));
  if (!workers_are_left() && keepers_end_.is_never()) {
    control_->header().workers_done.store(1, std::memory_order_release);
    keepers_end_ = Deadline::after(options_.keeper_grace);
  }
}

void Supervisor::on_failure(int rank, const Life& life, WorkerExit exit) {
  const bool was_our_doing = life.was_killed && (!is_keeper(rank) || is_impatient_);
  if (was_our_doing) return;
  if (life.has_stalled) exit.message = fmt::format("it made no step for {} ms", options_.stall_timeout.count());
  if (callbacks_.on_death) callbacks_.on_death(exit);
  if (control_->header().should_stop.load() != 0 && exit.signal && !is_keeper(rank)) {
    log(LogLevel::warning, "{} while it was to end anyway", exit.describe());
    return;
  }
  if (may_replace(rank, life, exit)) {
    const int in_a_row = fruitless_[rank];
    log(LogLevel::warning, "{}; replaced{}", exit.describe(),
        in_a_row == 0 ? ""
                      : fmt::format(" ({} of at most {} in a row that made no step)", in_a_row, options_.max_restarts));
    report_.deaths.push_back(std::move(exit));
    start(rank);
    return;
  }
  if (!failure_) {
    stalled_out_ = life.has_stalled;
    failure_ = std::move(exit);
  }
  ask_to_stop();
}

bool Supervisor::may_replace(int rank, const Life& life, const WorkerExit& exit) {
  if (exit.exit_code == 2) return false;  // It would fail again: see Process::start.
  if (is_keeper(rank) && (exit.exit_code || life.was_killed)) return false;
  int& in_a_row = fruitless_[rank];
  in_a_row = steps_of(rank) == life.steps_before ? in_a_row + 1 : 0;
  return options_.max_restarts > 0 && in_a_row <= options_.max_restarts;
}

std::uint64_t Supervisor::steps_of(int rank) const noexcept {
  const WorkerSlot& slot = control_->slot(rank);
  return slot.steps.load() + slot.skipped.load();
}

void Supervisor::ask_to_stop() {
  control_->header().should_stop.store(1);
  if (workers_end_.is_never()) workers_end_ = Deadline::after(options_.grace);
}

void Supervisor::kill(int rank, Life& life, const char* reason) {
  if (!life.incarnation->kill()) {
    throw TimeoutError(fmt::format("worker {} did not end ({}), and a thread cannot be killed", rank, reason),
                       "run the workers as processes, or let their body return soon after should_stop()");
  }
  life.was_killed = true;
}

void Supervisor::look_for_stalls() {
  if (options_.stall_timeout.count() == 0) return;
  for (auto& [rank, life] : lives_) {
    if (is_keeper(rank) || life.was_killed || life.has_stalled) continue;
    const Deadline::Clock::time_point beat{Deadline::Clock::duration(control_->slot(rank).heartbeat.load())};
    if (Deadline::Clock::now() - std::max(beat, life.began) < options_.stall_timeout) continue;
    kill(rank, life, "no step within the stall time-out");
    life.was_killed = false;
    life.has_stalled = true;
  }
}

void Supervisor::end_what_is_overdue() {
  for (auto& [rank, life] : lives_) {
    if (life.was_killed) continue;
    const Deadline& end = is_keeper(rank) ? keepers_end_ : workers_end_;
    if (!end.has_passed()) continue;
    log(LogLevel::warning, "{} did not end in time: killed",
        is_keeper(rank) ? "the keeper" : fmt::format("worker {}", rank));
    kill(rank, life, "grace is over");
  }
  if (workers_end_.has_passed()) workers_end_ = workers_are_left() ? workers_end_ : Deadline::never();
}

bool Supervisor::workers_are_left() const noexcept {
  return std::any_of(lives_.begin(), lives_.end(), [&](const auto& life) { return !is_keeper(life.first); });
}

}  // namespace hogpen::detail
