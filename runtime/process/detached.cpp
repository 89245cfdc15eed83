#include <unistd.h>

#include <mutex>
#include <utility>
#include <vector>

#include "runtime/process/process.h"

namespace hogpen {

// The detached children of this process. They are never destroyed: they go on until their parent has ended.
struct Process::Detached {
  std::mutex mutex;
  int owner = 0;
  std::vector<Process>* list = nullptr;

  static Detached& instance() {
    static auto* detached = new Detached;
    return *detached;
  }
  std::vector<Process>& children() {  // Requires: the mutex is held.
    if (owner != ::getpid()) {        // After a fork those in the list are the children of another.
      owner = ::getpid();
      list = new std::vector<Process>;
    }
    return *list;
  }
};

int Process::detach() {
  require_child();
  reap_detached();
  const int pid = pid_;
  if (!own_report_) options_.report = nullptr;  // Who owns it may not keep it so long.
  if (!exit_) {
    Detached& detached = Detached::instance();
    const std::lock_guard lock(detached.mutex);
    detached.children().push_back(std::move(*this));
  }
  pid_ = 0;
  return pid;
}

void Process::reap_detached() {
  Detached& detached = Detached::instance();
  const std::lock_guard lock(detached.mutex);
  std::erase_if(detached.children(), [](Process& child) { return !child.is_alive(); });
}

std::vector<int> detached_children() {
  Process::reap_detached();
  Process::Detached& detached = Process::Detached::instance();
  const std::lock_guard lock(detached.mutex);
  std::vector<int> pids;
  for (const Process& child : detached.children()) pids.push_back(child.pid());
  return pids;
}

}  // namespace hogpen
