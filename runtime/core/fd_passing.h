#pragma once

#include <utility>

#include "runtime/core/deadline.h"
#include "runtime/core/fd.h"

namespace hogpen {

/// Two connected Unix sockets over which descriptors can be sent.
[[nodiscard]] std::pair<Fd, Fd> socket_pair();

/// Sends a copy of a descriptor to the process at the other end (SCM_RIGHTS). Throws: SystemError.
void send_fd(int socket, int fd);

/// Receives a descriptor. Throws: SystemError; TimeoutError; Error when the other end was closed before it sent one.
[[nodiscard]] Fd receive_fd(int socket, Deadline deadline);

}  // namespace hogpen
