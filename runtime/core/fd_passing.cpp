#include "runtime/core/fd_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

// One byte of data has to travel along; the descriptor lies in the control part.
struct Message {
  char byte = 0;
  iovec data{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};

  Message() {
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
};

}  // namespace

std::pair<Fd, Fd> socket_pair() {
  int ends[2];
  syscall_ok(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  return {Fd(ends[0]), Fd(ends[1])};
}

void send_fd(int socket, int fd) {
  Message message;
  cmsghdr* part = CMSG_FIRSTHDR(&message.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &fd, sizeof(int));
  syscall_ok(::sendmsg(socket, &message.header, MSG_NOSIGNAL), "sendmsg of a descriptor");
}

Fd receive_fd(int socket, Deadline deadline) {
  pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
  if (syscall_ok(::poll(&ready, 1, deadline.poll_timeout()), "poll for a descriptor") == 0) {
    throw TimeoutError("no descriptor came in time");
  }
  Message message;
  syscall_ok(::recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC), "recvmsg of a descriptor");
  const cmsghdr* part = CMSG_FIRSTHDR(&message.header);
  if (!part || part->cmsg_type != SCM_RIGHTS) throw Error("the other end was closed before it sent a descriptor");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof(int));
  return Fd(fd);
}

}  // namespace hogpen
