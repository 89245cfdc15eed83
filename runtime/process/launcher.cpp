#include "runtime/process/launcher.h"

#include <algorithm>
#include <utility>

#include "runtime/memory/limits.h"
#include "runtime/process/affinity.h"
#include "runtime/process/process.h"
#include "runtime/process/supervisor.h"

namespace hogpen {

int threads_of_worker(const LauncherOptions& options) {
  if (options.threads_per_worker > 0) return options.threads_per_worker;
  return std::max(1, usable_cpus() / options.workers);
}

std::vector<int> cpus_of_worker(const LauncherOptions& options, int rank) {
  if (!options.pin_workers) return {};
  return share_of_cpus(allowed_cpus(), rank, threads_of_worker(options));
}

Launcher::Launcher(LauncherOptions options) : options_(options) {
  require(options.workers >= 1 && options.workers <= 4096, "the number of workers must be 1 to 4096, but is {}",
          options.workers);
  require(options.max_restarts >= 0, "max_restarts must not be negative, but is {}", options.max_restarts);
  require(options.threads_per_worker >= 0, "threads_per_worker must not be negative, but is {}",
          options.threads_per_worker);
  control_ = std::make_shared<ControlBlock>(options.workers);
}

void Launcher::every(std::chrono::milliseconds period, std::function<void()> tick) {
  require(period.count() > 0, "the period of a tick must be positive, but is {} ms", period.count());
  period_ = period;
  tick_ = std::move(tick);
}

LaunchReport Launcher::run(WorkerBody body) {
  detail::Supervisor supervisor(
      options_, control_,
      {.body = std::move(body), .keeper = keeper_, .period = period_, .tick = tick_, .on_death = death_});
  return supervisor.run();
}

void run_isolated(WorkersAs workers_as, const std::function<void()>& body) {
  if (workers_as == WorkersAs::threads) return body();
  // One thread: to start OpenMP's takes longer than what is prepared here would gain by them.
  Process child = Process::start(body, {.name = "hogpen-prepare", .threads = 1, .ignore_stop_signals = true});
  WorkerExit exit = child.wait(Deadline::never()).value();
  if (exit.ok()) return;
  if (exit.signal) {
    exit.name = "isolated child";
    throw WorkerError(std::move(exit));
  }
  constexpr std::string_view kHint = "\nhint: ";  // as run_and_report writes it
  const std::size_t end = std::min(exit.message.find(kHint), exit.message.size());
  const std::string message = exit.message.substr(0, end);
  const std::string hint = end < exit.message.size() ? exit.message.substr(end + kHint.size()) : "";
  if (exit.exit_code == 2) throw UsageError(message, hint);
  throw Error(message, hint);
}

}  // namespace hogpen
