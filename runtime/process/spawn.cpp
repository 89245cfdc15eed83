#include "runtime/process/spawn.h"

#include <algorithm>
#include <utility>

#include "runtime/process/thread_budget.h"

namespace hogpen {

ProcessContext start_processes(const std::function<void(int)>& body, int count, SpawnOptions options) {
  require(count >= 1 && count <= 4096, "the number of processes must be 1 to 4096, but is {}", count);
  require(options.threads >= 0, "a budget of threads must not be negative, but is {}", options.threads);
  const int threads = options.threads > 0 ? options.threads : std::max(1, default_workers() / count);
  ProcessContext context(options.grace);
  context.processes_.reserve(static_cast<std::size_t>(count));
  for (int rank = 0; rank < count; ++rank) {
    context.processes_.push_back(Process::start(
        [&] { body(rank); }, {.name = fmt::format("{}-{}", options.name, rank), .rank = rank, .threads = threads}));
  }
  for (Process& process : context.processes_) context.running_.push_back(&process);
  return context;
}

void spawn(const std::function<void(int)>& body, int count, SpawnOptions options) {
  start_processes(body, count, std::move(options)).join();
}

ProcessContext::~ProcessContext() {
  for (Process& process : processes_) process.kill();  // All at once, before each is waited for.
}

bool ProcessContext::join(Deadline deadline) {
  while (!running_.empty() && !failure_) {
    const std::vector<Process*> ended = wait_any(running_, deadline);
    if (ended.empty()) return false;
    for (Process* process : ended) {
      const WorkerExit exit = process->wait(Deadline::never()).value();
      if (!exit.ok() && !failure_) failure_ = exit;
      std::erase(running_, process);
    }
  }
  stop_running();
  if (failure_) throw WorkerError(*failure_);
  return true;
}

void ProcessContext::stop_running() {
  for (Process* process : running_) process->terminate();
  const Deadline end_of_grace = Deadline::after(grace_);
  for (Process* process : running_) {
    if (process->wait(end_of_grace)) continue;
    process->kill();
    (void)process->wait(Deadline::never());
  }
  running_.clear();
}

std::vector<int> ProcessContext::pids() const {
  std::vector<int> pids;
  for (const Process& process : processes_) pids.push_back(process.pid());
  return pids;
}

}  // namespace hogpen
