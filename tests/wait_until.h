#pragma once

#include <chrono>
#include <thread>

#include "runtime/core/deadline.h"

namespace hogpen {

inline Deadline now() {
  return Deadline::after(std::chrono::milliseconds(0));
}

/// Later than anything here takes.
inline Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

/// Looks at `ready()` every so often, for so long at most, and returns what it says in the end.
template <class Ready>
bool wait_until(std::chrono::seconds patience, Ready ready) {
  const Deadline deadline = Deadline::after(patience);
  while (!ready() && !deadline.has_passed()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  return ready();
}

}  // namespace hogpen
