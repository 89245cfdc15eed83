#include "runtime/process/launcher.h"

#include <utility>

#include "runtime/process/process.h"
#include "runtime/process/supervisor.h"

namespace hogpen {

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
  Process child = Process::start(body, {.name = "hogpen-prepare"});
  const WorkerExit exit = child.wait(Deadline::never()).value();
  if (exit.ok()) return;
  if (exit.exit_code != 2) throw WorkerError(exit);
  const std::size_t hint = exit.message.find("\nhint: ");
  if (hint == std::string::npos) throw UsageError(exit.message);
  throw UsageError(exit.message.substr(0, hint), exit.message.substr(hint + std::string_view("\nhint: ").size()));
}

}  // namespace hogpen
