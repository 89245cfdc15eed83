#include "runtime/work/serve_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "runtime/core/error.h"
#include "runtime/core/life.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

constexpr char kVariable[] = "HOGPEN_POOL";

int inheritable(int fd) {
  return syscall_ok(::dup(fd), "dup for a pool's worker");
}

Fd inherited(int fd) {
  syscall_ok(::fcntl(fd, F_SETFD, FD_CLOEXEC), "fcntl(F_SETFD) of a pool's descriptor");
  return Fd(fd);
}

}  // namespace

void execute_pool_worker(const std::vector<std::string>& program, const Shared<PoolState>& pool, std::uint32_t worker,
                         std::uint64_t most_tasks, int threads) {
  const std::string place =
      fmt::format("{} {} {} {} {} {} {}", sizeof(PoolState), inheritable(family_fd()), inheritable(shared_heap_fd()),
                  static_cast<std::uint64_t>(pool.id()), worker, most_tasks, threads);
  ::setenv(kVariable, place.c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& argument : program) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  throw SystemError("exec of " + program[0], errno, "PoolOptions::program must name an executable file");
}

int serve_pool() {
  const char* place = std::getenv(kVariable);
  require(place != nullptr, "a program that calls serve_pool must be started by a Pool: PoolOptions::program names it");
  std::size_t size = 0;
  int family = -1, heap = -1, threads = 0;
  std::uint32_t worker = 0;
  unsigned long block = 0, most_tasks = 0;
  const int read =
      std::sscanf(place, "%zu %d %d %lu %u %lu %d", &size, &family, &heap, &block, &worker, &most_tasks, &threads);
  require(read == 7 && size == sizeof(PoolState),
          "a Pool and the program of its workers must be built with the same hogpen ({} is \"{}\")", kVariable, place);
  ::unsetenv(kVariable);
  set_thread_budget(threads);
  join_family(inherited(family));
  join_shared_heap(inherited(heap));
  const auto pool = Shared<PoolState>::open(static_cast<BlockId>(block));
  run_pool_worker(*pool, worker, most_tasks);
  return 0;
}

}  // namespace hogpen
