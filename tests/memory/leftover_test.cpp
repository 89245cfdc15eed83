#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "runtime/channel/queue.h"
#include "runtime/core/life.h"
#include "runtime/memory/segment.h"
#include "runtime/memory/shared.h"
#include "runtime/process/process.h"
#include "runtime/sync/event.h"
#include "tests/footprint.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;
constexpr int kCannotMount = 77;

// In Python a container's /dev/shm of 64 MB ends a program with SIGBUS: "bus error, insufficient shared memory (shm)".
TEST(ComplaintFullDevShmIsSIGBUS, NothingHereLiesInDevShm) {
  Process child = Process::start([] {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        ::mount("none", "/dev/shm", "tmpfs", 0, "size=4k,nr_inodes=1") != 0) {
      ::_exit(kCannotMount);
    }
    const Segment segment = Segment::create("larger than /dev/shm", 1 << 20);
    Queue<std::string> queue;
    queue.put(std::string(1 << 20, 'x'));
    ::_exit(queue.get()->size() == 1 << 20 && segment.size_bytes() == 1 << 20 ? 0 : 1);
  });
  const auto exit = child.wait(Deadline::after(kPatience));
  ASSERT_TRUE(exit.has_value());
  if (exit->exit_code == kCannotMount) GTEST_SKIP() << "this user may not mount in a namespace of its own";
  EXPECT_EQ(exit->exit_code, 0) << exit->describe();
}

std::int64_t shared_kilobytes_of_the_machine() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("Shmem:")) return std::stoll(line.substr(6));
  }
  return -1;
}

// In Python what torch_shm_manager or resource_tracker would have removed stays in /dev/shm when they are killed as
// well.
TEST(ComplaintSegmentsLeftAfterSIGKILL, TheMemoryOfKilledProcessesIsGone) {
  constexpr std::int64_t kKilobytes = 512 << 10;
  const Shared<Event> is_taken;
  (void)my_life();
  const Footprint before = Footprint::now();
  const std::int64_t shared_before = shared_kilobytes_of_the_machine();
  std::optional<Process> owner = Process::start([&] {
    const Segment segment = Segment::create("left", kKilobytes / 2 << 10);
    const SharedBlock block = SharedBlock::allocate(kKilobytes / 2 << 10);
    Process user = Process::start([&] {
      segment.data()[0] = block.data()[0];
      is_taken->set();
      for (;;) ::pause();
    });
    (void)user.wait(Deadline::never());
  });
  ASSERT_TRUE(is_taken->wait(Deadline::after(kPatience)));
  // Others use shared memory meanwhile, so only the greater part of it is asked for.
  EXPECT_GT(shared_kilobytes_of_the_machine(), shared_before + kKilobytes / 2);
  owner->kill();
  ASSERT_TRUE(owner->wait(Deadline::after(kPatience)).has_value());
  owner.reset();
  EXPECT_TRUE(wait_until(kPatience,
                         [&] {
                           release_shares_of_the_dead();  // as the next user of the heap would
                           return shared_kilobytes_of_the_machine() < shared_before + kKilobytes / 4;
                         }))
      << shared_kilobytes_of_the_machine() << " KB, before " << shared_before;
  EXPECT_EQ(Footprint::now(), before);
}

}  // namespace
}  // namespace hogpen
