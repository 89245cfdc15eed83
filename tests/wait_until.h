#pragma once

#include <chrono>
#include <thread>

#include "runtime/core/deadline.h"

namespace hogpen {

/// Looks at `ready()` every so often, for so long at most, and returns what it says in the end.
template <class Ready>
bool wait_until(std::chrono::seconds patience, Ready ready) {
  const Deadline deadline = Deadline::after(patience);
  while (!ready() && !deadline.has_passed()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  return ready();
}

}  // namespace hogpen
