#include "runtime/work/executor.h"

#include <fmt/format.h>

#include "kernels/transform.h"
#include "runtime/core/error.h"
#include "runtime/process/thread_budget.h"
#include "runtime/work/team.h"

namespace hogpen {

const char* name_of(Place place) noexcept {
  switch (place) {
    case Place::caller:
      return "caller";
    case Place::threads:
      return "threads";
    case Place::processes:
      return "processes";
    case Place::gpu:
      return "gpu";
    case Place::automatic:
      break;
  }
  return "auto";
}

std::string Choice::describe() const {
  const std::string who = place == Place::caller ? "the calling thread"
                          : place == Place::gpu  ? "the GPU"
                                                 : fmt::format("{} {}", workers, name_of(place));
  switch (reason) {
    case Reason::data:
      return who + ": the data is there";
    case Reason::asked:
      return who + ": as was asked";
    case Reason::alone:
      return who + ": nobody else may";
    case Reason::size:
      break;
  }
  if (place == Place::caller) return fmt::format("{}: {} elements are too few for others to help", who, elements);
  return fmt::format("{}: {} elements, and from {} on that is faster", who, elements, from);
}

Executor::Executor(ExecutorOptions options) : options_(std::move(options)) {
  require(options_.threads >= 0, "an Executor must have 0 or more threads, not {}", options_.threads);
  if (options_.threads == 0) options_.threads = default_workers();
  require(options_.place != Place::processes || options_.processes != nullptr,
          "an Executor whose place is processes must be given a Pool of them");
  if (options_.place == Place::gpu && kernels::cuda_devices() == 0) {
    throw DeviceError("there is no GPU that could be used",
                      "hogpen info says why; leave the choice of the place to hogpen");
  }
}

Executor::~Executor() = default;

Team& Executor::team() {
  if (!team_) team_ = std::make_unique<Team>(options_.threads);
  return *team_;
}

}  // namespace hogpen
