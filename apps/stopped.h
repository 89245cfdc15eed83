#pragma once

namespace hogpen {

/// SIGINT or SIGTERM came: what is thrown to leave a work with nothing left behind.
struct Stopped {
  int signal;
};

}  // namespace hogpen
