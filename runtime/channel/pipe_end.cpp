#include "runtime/channel/pipe_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"
#include "runtime/core/life.h"
#include "runtime/memory/shared.h"

namespace hogpen {
namespace {

using Clock = Deadline::Clock;
using Owner = std::atomic<Life>;

// Who sends asks the kernel no more often whether the other end lives; who waits asks each time it looks again.
constexpr std::chrono::milliseconds kAskAgainAfter{1};

bool is_only_thread() {
  struct ::stat status{};
  // A directory's links: its name, its own ".", and the ".." of each directory in it.
  return ::stat("/proc/self/task", &status) == 0 && status.st_nlink == 3;
}

// Whether anyone may still begin to use an end: a pipe of the kernel, whose side for writing every process inherits
// that gets the end. When nobody has it any more, the side for reading shows a hang-up.
class Hold {
 public:
  Hold() {
    std::array<int, 2> ends{};
    syscall_ok(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), "pipe2");
    watch_.reset(ends[0]);
    hold_.reset(ends[1]);
  }

  void let_go() noexcept { hold_.reset(); }

  // Whether nobody can come any more. Where this process itself may, only its other threads could.
  [[nodiscard]] bool is_hopeless() {
    if (!hold_) return hung_up();
    if (!is_only_thread()) return false;
    hold_.reset();
    const bool hopeless = hung_up();
    const std::string path = fmt::format("/proc/self/fd/{}", watch_.get());
    hold_.reset(syscall_ok(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK), "open " + path));
    return hopeless;
  }

 private:
  [[nodiscard]] bool hung_up() const {
    ::pollfd watch{.fd = watch_.get(), .events = 0, .revents = 0};
    syscall_ok(::poll(&watch, 1, 0), "poll");
    return (watch.revents & POLLHUP) != 0;
  }

  Fd watch_;
  Fd hold_;
};

}  // namespace

// What both ends have. The index is a side.
struct PipeEnd::Pipe {
  explicit Pipe(const PipeOptions& options) {
    (void)my_life();  // so that both ends' processes are of one family
    const QueueOptions queue{.capacity = 0, .bytes = options.bytes, .spin = options.spin};
    to[0].emplace(queue);
    if (options.duplex) to[1].emplace(queue);
  }

  std::array<std::optional<RecordQueue>, 2> to;  // what is on its way to a side
  std::array<Shared<Owner>, 2> owners{Shared<Owner>(Life::none), Shared<Owner>(Life::none)};
  std::array<Hold, 2> holds;
};

// What the copies of an end in one process have. The last of them closes it, if the end belongs to this process.
struct PipeEnd::Handle {
  Handle(std::shared_ptr<Pipe> of, std::size_t end) : pipe(std::move(of)), side(end) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    pipe->holds[side].let_go();
    const Life owner = pipe->owners[side]->load();
    if (owner != Life::none && owner == my_life()) close();
  }

  // An end belongs to the process that first uses it.
  void claim() const {
    Life owner = pipe->owners[side]->load();
    const Life me = my_life();
    if (owner == me) return;
    if (owner == Life::none && pipe->owners[side]->compare_exchange_strong(owner, me)) return;
    require(owner == me, "this end of the pipe belongs to another process, which used it first");
  }

  [[nodiscard]] bool peer_is_gone() const {
    const Life owner = pipe->owners[1 - side]->load();
    return owner == Life::none ? pipe->holds[1 - side].is_hopeless() : !is_alive(owner);
  }
  [[nodiscard]] bool peer_has_died_lately() {
    const Clock::duration now = Clock::now().time_since_epoch();
    if (now < ask_again_at.load(std::memory_order_relaxed)) return false;  // relaxed: a thread too many asks at worst
    ask_again_at.store(now + kAskAgainAfter, std::memory_order_relaxed);
    const Life owner = pipe->owners[1 - side]->load();
    return owner != Life::none && !is_alive(owner);
  }

  // Waits with `attempt`, and looks after the peer meanwhile. When that is gone, a last attempt tells.
  template <class Attempt>
  bool wait(const RecordQueue& queue, Attempt attempt, Deadline deadline) const {
    for (;;) {
      if (attempt(std::min(deadline, Deadline::after(WaitPoint::kLongestSleep)))) return true;
      if (deadline.has_passed()) return false;
      if (queue.closed() || peer_is_gone()) return attempt(Deadline::after(Clock::duration::zero()));
    }
  }

  [[nodiscard]] RecordQueue& incoming() const {
    require(pipe->to[side].has_value(), "the second end of a one-way pipe only sends");
    claim();
    return *pipe->to[side];
  }
  [[nodiscard]] RecordQueue& outgoing() const {
    require(pipe->to[1 - side].has_value(), "the first end of a one-way pipe only receives");
    claim();
    return *pipe->to[1 - side];
  }
  void close() const noexcept {
    for (auto& queue : pipe->to) {
      if (queue) queue->close();
    }
  }

  std::shared_ptr<Pipe> pipe;
  std::size_t side;
  std::atomic<Clock::duration> ask_again_at{Clock::duration::zero()};
};

std::pair<PipeEnd, PipeEnd> PipeEnd::make(const PipeOptions& options) {
  const auto pipe = std::make_shared<Pipe>(options);
  return {PipeEnd(std::make_shared<Handle>(pipe, 0)), PipeEnd(std::make_shared<Handle>(pipe, 1))};
}

bool PipeEnd::put(std::span<const std::byte> payload, std::span<const BlockId> blocks, Deadline deadline) {
  RecordQueue& queue = handle_->outgoing();
  if (handle_->peer_has_died_lately()) queue.close();
  const auto attempt = [&](Deadline soon) { return queue.put(payload, blocks, soon); };
  if (handle_->wait(queue, attempt, deadline)) return true;
  if (!deadline.has_passed()) throw ClosedError("the process at the other end of the pipe is gone");
  return false;
}

bool PipeEnd::get(RecordSink sink, Deadline deadline) {
  RecordQueue& queue = handle_->incoming();
  return handle_->wait(queue, [&](Deadline soon) { return queue.get(sink, soon); }, deadline);
}

bool PipeEnd::poll(Deadline deadline) {
  RecordQueue& queue = handle_->incoming();
  return handle_->wait(queue, [&](Deadline soon) { return queue.wait_for_message(soon); }, deadline);
}

void PipeEnd::close() noexcept {
  handle_->close();
}

bool PipeEnd::is_open() const {
  return !handle_->pipe->to[0]->closed() && !handle_->peer_is_gone();
}

}  // namespace hogpen
