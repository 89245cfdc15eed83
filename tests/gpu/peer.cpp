#include "tests/gpu/peer.h"

#include <poll.h>
#include <sys/socket.h>

#include <csignal>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"

namespace hogpen::gpu_suite {

void Talk::write(const void* bytes, std::size_t size) {
  const auto sent = ::send(socket_.get(), bytes, size, MSG_NOSIGNAL);  // never so much that it does not fit
  if (sent != static_cast<ssize_t>(size)) throw Error("whoever should hear is gone");
}

void Talk::read(void* bytes, std::size_t size) {
  const Deadline deadline = Deadline::after(kPatience);
  for (auto* at = static_cast<std::byte*>(bytes); size > 0;) {
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (syscall_ok(::poll(&ready, 1, deadline.poll_timeout()), "poll") == 0) {
      throw TimeoutError(fmt::format("no answer within {} s", kPatience.count()));
    }
    const auto received = ::recv(socket_.get(), at, size, 0);
    if (received <= 0) throw Error("whoever should speak is gone");
    at += received;
    size -= static_cast<std::size_t>(received);
  }
}

void Talk::give(const DeviceShare& share) {
  say(share.handle);
  if (share.fd) send_fd(socket_.get(), share.fd.get());
}

DeviceShare Talk::take() {
  DeviceShare share{.handle = hear<DeviceHandle>(), .fd = {}};
  if (share.handle.way == DeviceHandle::Way::descriptor) {
    share.fd = receive_fd(socket_.get(), Deadline::after(kPatience));
  }
  return share;
}

Peer Peer::start(const std::string& name, const std::function<void(Talk&)>& body) {
  auto [mine, its] = socket_pair();
  return {Process::start(
              [&] {
                mine.reset();
                Talk talk(std::move(its));
                body(talk);
              },
              {.name = name}),
          std::move(mine)};
}

void Peer::kill() {
  process_.kill();
  const WorkerExit exit = wait();
  if (exit.signal != SIGKILL) throw Error(exit.describe());
}

void Peer::join() {
  const WorkerExit exit = wait();
  if (!exit.ok()) throw WorkerError(exit);
}

WorkerExit Peer::wait() {
  auto exit = process_.wait(Deadline::after(kPatience));
  if (!exit) throw TimeoutError(fmt::format("{} does not end", process_.name()));
  exit->name = process_.name();
  return *exit;
}

void Peer::throw_reason(const Error& error) {
  if (process_.wait(Deadline::after(std::chrono::seconds(2)))) throw Error(wait().describe());
  throw Error(fmt::format("{}: {}", process_.name(), error.what()));
}

}  // namespace hogpen::gpu_suite
