#include "runtime/core/life.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

// A memfd with the next number in its first bytes. Each process locks the byte at its number. Such a lock belongs to
// the process: a fork does not inherit it, and the kernel takes it away at the end, however the end comes. Closing any
// descriptor of the file would also take it away, so this one stays open for good.
class Family {
 public:
  explicit Family(Fd fd) : fd_(std::move(fd)) {
    void* page = ::mmap(nullptr, sizeof(*next_), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (page == MAP_FAILED) throw SystemError("mmap of the family's page", errno);
    next_ = static_cast<std::atomic<std::uint64_t>*>(page);
  }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  // A new number, locked by this process.
  [[nodiscard]] Life enter() {
    const auto life = static_cast<Life>(next_->fetch_add(1) + 1);
    struct flock lock = byte_of(life);
    syscall_ok(::fcntl(fd_.get(), F_SETLK, &lock), "fcntl(F_SETLK) of the family's file");
    return life;
  }

  [[nodiscard]] bool is_locked_by_another(Life life) const {
    struct flock lock = byte_of(life);
    syscall_ok(::fcntl(fd_.get(), F_GETLK, &lock), "fcntl(F_GETLK) of the family's file");
    return lock.l_type != F_UNLCK;
  }

 private:
  static struct flock byte_of(Life life) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(life);
    lock.l_len = 1;
    return lock;
  }

  Fd fd_;
  std::atomic<std::uint64_t>* next_ = nullptr;
};

// What a process knows of itself. It is never destroyed: threads may still ask while the process ends.
struct Self {
  std::mutex mutex;
  Family* family = nullptr;
  std::atomic<Life> life{Life::none};
};

Self& self() {
  static Self& instance = *[] {
    ::pthread_atfork(nullptr, nullptr, [] { self().life.store(Life::none, std::memory_order_relaxed); });
    return new Self;
  }();
  return instance;
}

Fd new_family_file() {
  Fd fd(syscall_ok(::memfd_create("hogpen:family", MFD_CLOEXEC), "memfd_create"));
  syscall_ok(::ftruncate(fd.get(), sizeof(std::uint64_t)), "ftruncate of the family's file");
  return fd;
}

Family& family_under_lock(Self& me) {
  if (!me.family) me.family = new Family(new_family_file());
  return *me.family;
}

}  // namespace

Life my_life() {
  Self& me = self();
  // Relaxed: the number alone is passed on.
  const Life known = me.life.load(std::memory_order_relaxed);
  if (known != Life::none) return known;
  const std::lock_guard lock(me.mutex);
  if (me.life.load(std::memory_order_relaxed) == Life::none) me.life.store(family_under_lock(me).enter());
  return me.life.load(std::memory_order_relaxed);
}

bool is_alive(Life life) {
  if (life == Life::none) return false;
  if (life == my_life()) return true;  // A process sees only the locks of others.
  return self().family->is_locked_by_another(life);
}

int family_fd() {
  (void)my_life();
  return self().family->fd();
}

void join_family(Fd fd) {
  Self& me = self();
  const std::lock_guard lock(me.mutex);
  require(!me.family, "a process must join a family before it has one of its own");
  me.family = new Family(std::move(fd));
}

}  // namespace hogpen
