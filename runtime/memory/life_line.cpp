#include "runtime/memory/life_line.h"

#include <fcntl.h>

#include <string>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

// The bytes need not exist, nor does a lock on one have to do with what lies there.
int set_lock(int fd, int command, short type, int byte) noexcept {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  int result = 0;
  do {
    result = ::fcntl(fd, command, &lock);
  } while (result < 0 && errno == EINTR);
  return result;
}

// dup(2) would share the description, and so the locks.
Fd open_again(int heap_fd) {
  const std::string path = fmt::format("/proc/self/fd/{}", heap_fd);
  return Fd(syscall_ok(::open(path.c_str(), O_RDWR | O_CLOEXEC), "open of the shared heap at " + path));
}

}  // namespace

LifeLine LifeLine::take(int heap_fd) {
  Fd fd = open_again(heap_fd);
  for (int place = 0; place < kPlaces; ++place) {
    if (set_lock(fd.get(), F_OFD_SETLK, F_WRLCK, place) == 0) return LifeLine(std::move(fd), place);
    if (errno != EAGAIN && errno != EACCES) throw SystemError("fcntl(F_OFD_SETLK) of the shared heap", errno);
  }
  throw Error(fmt::format("at most {} processes can use one shared heap at the same time", kPlaces),
              "start fewer processes, or let those end that need no shared memory");
}

bool LifeLine::take_from_the_dead(int place) const noexcept {
  return place != place_ && set_lock(fd_.get(), F_OFD_SETLK, F_WRLCK, place) == 0;
}

void LifeLine::leave(int place) const noexcept {
  (void)set_lock(fd_.get(), F_OFD_SETLK, F_UNLCK, place);
}

HeapLock::HeapLock(int heap_fd, Name name)
    : fd_(open_again(heap_fd)), byte_(LifeLine::kPlaces + static_cast<int>(name)) {
  syscall_ok(set_lock(fd_.get(), F_OFD_SETLKW, F_WRLCK, byte_), "fcntl(F_OFD_SETLKW) of the shared heap");
}

// Closing alone would leave the lock to a child that has been forked meanwhile.
HeapLock::~HeapLock() {
  (void)set_lock(fd_.get(), F_OFD_SETLK, F_UNLCK, byte_);
}

}  // namespace hogpen
