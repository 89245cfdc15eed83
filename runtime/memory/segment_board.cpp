#include "runtime/memory/segment_board.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"
#include "runtime/memory/life_line.h"
#include "runtime/memory/shared_heap.h"

namespace hogpen {
namespace {

struct Board {
  Fd writing;
  Fd reading;
};

// Never destroyed: threads may still use it while the process ends.
Board& board() {
  static Board& instance = *new Board;
  return instance;
}

struct Note {
  FileId file;
  std::array<char, CMSG_SPACE(sizeof(int))> control alignas(cmsghdr) = {};
  iovec data{};
  msghdr header{};

  Note() {
    data = {.iov_base = &file, .iov_len = sizeof(file)};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
};

constexpr int kPeek = MSG_PEEK;
constexpr int kTake = 0;

// The next note from the socket's offset on, which moves on, or the first, which is taken off; empty when there is
// none.
Fd read_note(FileId& file, int how) {
  Note note;
  ssize_t got = 0;
  do {
    got = ::recvmsg(board().reading.get(), &note.header, how | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Fd();
  syscall_ok(got, "recvmsg of the board of segments");
  const cmsghdr* part = CMSG_FIRSTHDR(&note.header);
  if (!part || part->cmsg_type != SCM_RIGHTS || (note.header.msg_flags & MSG_CTRUNC) != 0) {
    throw SystemError("receiving a descriptor from the board of segments", EMFILE, "raise `ulimit -n`");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof(fd));
  file = note.file;
  return Fd(fd);
}

// False when the board is full.
bool write_note(FileId file, int fd) {
  Note note;
  note.file = file;
  cmsghdr* part = CMSG_FIRSTHDR(&note.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &fd, sizeof(fd));
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(board().writing.get(), &note.header, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETOOMANYREFS)) return false;
  syscall_ok(sent, "sendmsg to the board of segments");
  return true;
}

void peek_from_the_beginning() {
  const int begin = 0;
  syscall_ok(::setsockopt(board().reading.get(), SOL_SOCKET, SO_PEEK_OFF, &begin, sizeof(begin)),
             "setsockopt(SO_PEEK_OFF) of the board of segments");
}

// Requires: the lock of the board, because the offset belongs to the socket and not to its reader.
Fd find_under_lock(FileId file) {
  peek_from_the_beginning();
  FileId seen;
  for (;;) {
    Fd fd = read_note(seen, kPeek);
    if (!fd || seen == file) return fd;
  }
}

// Moves the first note to the end. The copy is written before the note is taken, unless the board is full.
void move_to_the_end() {
  peek_from_the_beginning();
  FileId file;
  const Fd fd = read_note(file, kPeek);
  const bool is_written = write_note(file, fd.get());
  (void)read_note(file, kTake);
  if (!is_written) (void)write_note(file, fd.get());
}

}  // namespace

void open_segment_board() {
  auto [writing, reading] = socket_pair();
  // Room for about 600 notes, where the system allows it; more would take long to look through.
  const int bytes = 1 << 18;
  (void)::setsockopt(writing.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
  board() = {std::move(writing), std::move(reading)};
}

void post_segment(const Mapping& mapping) {
  if (post_on_board(mapping.file(), mapping.fd())) return;
  throw Error("too many different Segments have been sent to other processes",
              "put more tensors into one Arena, or send tensors that lie in none");
}

bool post_on_board(FileId key, int fd) {
  const int heap = shared_heap_fd();
  if (!board().writing) {
    throw Error(
        "a program that was executed, as by PoolOptions::program, cannot send Segments or CUDA tensors: "
        "use forked workers, or send copies on the CPU");
  }
  const HeapLock lock(heap, HeapLock::Name::board);
  return find_under_lock(key) || write_note(key, fd);
}

bool has_board() {
  (void)shared_heap_fd();  // which makes it
  return static_cast<bool>(board().reading);
}

Fd find_on_board(FileId file) {
  const int heap = shared_heap_fd();
  if (!board().reading) return Fd();
  const HeapLock lock(heap, HeapLock::Name::board);
  return find_under_lock(file);
}

void clean_board(const std::function<bool(FileId)>& is_dead) {
  const int heap = shared_heap_fd();
  if (!board().reading) return;
  const HeapLock lock(heap, HeapLock::Name::board);
  std::vector<bool> dead;
  peek_from_the_beginning();
  FileId seen;
  while (read_note(seen, kPeek)) dead.push_back(is_dead(seen));
  if (std::ranges::find(dead, true) == dead.end()) return;
  for (const bool is_dead_one : dead) {
    if (is_dead_one) {
      (void)read_note(seen, kTake);
    } else {
      move_to_the_end();
    }
  }
}

}  // namespace hogpen
