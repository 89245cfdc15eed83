// The contract of DeviceMemory, for each way to share it. ctest runs it twice: on the fake driver, and on the real one
// where there is a GPU.
#include "runtime/memory/device_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/core/fd_passing.h"
#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/cuda_stream.h"
#include "tests/fake_cuda/of_fake.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

using Way = DeviceMemory::Way;
using Options = DeviceMemory::Options;

constexpr std::size_t kSize = 5'000'000;
constexpr std::uint64_t kLayout = 0x1234;
constexpr int kNoGpu = 77;
constexpr int kRealGpu = 78;
constexpr int kKilled = 128 + SIGKILL;

void write(const DeviceMemory& memory, std::size_t at, std::uint32_t value) {
  use_gpu(memory.gpu());
  copy_to_gpu(memory.data() + at, &value, sizeof(value));
}

std::uint32_t read(const DeviceMemory& memory, std::size_t at) {
  std::uint32_t value = 0;
  use_gpu(memory.gpu());
  copy_from_gpu(&value, memory.data() + at, sizeof(value));
  return value;
}

std::size_t free_bytes() {
  return room_on_gpu().free_bytes;
}

void send(int socket, const DeviceMemory& memory) {
  const DeviceShare share = memory.share();
  ASSERT_EQ(::write(socket, &share.handle, sizeof(share.handle)), static_cast<ssize_t>(sizeof(share.handle)));
  if (share.fd) send_fd(socket, share.fd.get());
}

DeviceShare receive(int socket) {
  DeviceShare share;
  EXPECT_EQ(::read(socket, &share.handle, sizeof(share.handle)), static_cast<ssize_t>(sizeof(share.handle)));
  if (share.handle.way == Way::descriptor) share.fd = receive_fd(socket, Deadline::after(std::chrono::seconds(30)));
  return share;
}

DeviceMemory attach(const DeviceShare& share) {
  return DeviceMemory::attach(share, kSize, kLayout);
}

void say(int socket) {
  ASSERT_EQ(::write(socket, "x", 1), 1);
}
void hear(int socket) {
  char byte = 0;
  ASSERT_EQ(::read(socket, &byte, 1), 1);
}
void hear_the_end(int socket) {
  char byte = 0;
  ASSERT_EQ(::read(socket, &byte, 1), 0);
}

int live() {
  auto* const count = of_fake<int()>("fake_driver_live");
  return count ? count() : 0;
}

/// A process that uses CUDA can fork no more: whatever does is a child of the test, with a socket to another one.
class DeviceMemoryContract : public LeavesNothing<testing::TestWithParam<Way>> {
 protected:
  using Body = std::function<void(int socket)>;

  void SetUp() override {
    LeavesNothing::SetUp();
    const int code = exit_code_of_child([] {
      try {
        (void)cuda_driver();
      } catch (const DeviceError&) {
        return kNoGpu;
      }
      return of_fake<int()>("fake_driver_live") ? 0 : kRealGpu;
    });
    if (code == kNoGpu) GTEST_SKIP() << "no GPU";
    is_fake_ = code == 0;
  }

  static bool by_descriptor() { return GetParam() == Way::descriptor; }
  static DeviceMemory make() { return DeviceMemory::create(0, kSize, {.layout_hash = kLayout, .way = GetParam()}); }
  static DeviceMemory make(std::size_t size) { return DeviceMemory::create(0, size, {.way = GetParam()}); }
  /// Memory that begins with 11, of which whoever is at the other end has a share.
  static DeviceMemory make_and_send(int socket) {
    auto memory = make();
    write(memory, 0, 11);
    send(socket, memory);
    return memory;
  }
  static void make_and_be_killed(int socket) {
    const auto memory = make_and_send(socket);
    hear(socket);
    ::raise(SIGKILL);
  }

  static pid_t start(int socket, const Body& body) {
    return start_child([&] {
      body(socket);
      EXPECT_EQ(live(), 0);
      return HasFailure() ? 1 : 0;
    });
  }
  /// In a process of its own.
  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of(start(-1, [&](int) { body(); })), 0);
  }
  /// In two, until both have ended; `maker_ends` and `user_ends` are what their exit codes must be.
  static void between(const Body& maker, const Body& user, int maker_ends = 0, int user_ends = 0) {
    auto [one, other] = socket_pair();
    const pid_t first = start(one.get(), [&](int socket) {
      other.reset();
      maker(socket);
    });
    const pid_t second = start(other.get(), [&](int socket) {
      one.reset();
      user(socket);
    });
    one.reset();
    other.reset();
    EXPECT_EQ(exit_code_of(first), maker_ends);
    EXPECT_EQ(exit_code_of(second), user_ends);
  }

  bool is_fake_ = false;
};

INSTANTIATE_TEST_SUITE_P(Ways, DeviceMemoryContract, testing::Values(Way::descriptor, Way::cuda_ipc),
                         [](const auto& param) { return param.param == Way::descriptor ? "Descriptor" : "CudaIpc"; });

TEST_P(DeviceMemoryContract, WhatOneProcessWritesAnotherReads) {
  between(
      [](int socket) {
        const auto memory = make();
        write(memory, 0, 11);
        write(memory, kSize - 4, 22);
        send(socket, memory);
        hear(socket);
        EXPECT_EQ(read(memory, 4), 33);
      },
      [](int socket) {
        {
          const auto memory = attach(receive(socket));
          EXPECT_EQ(read(memory, 0), 11);
          EXPECT_EQ(read(memory, kSize - 4), 22);
          write(memory, 4, 33);
        }
        say(socket);
      });
}

TEST_P(DeviceMemoryContract, ItsSizeIsWhatWasAskedFor) {
  alone([] {
    const std::size_t unit = DeviceMemory::granularity_bytes(0);
    for (const std::size_t size : {std::size_t{4}, unit - 4, unit, unit + 4, 3 * unit}) {
      const auto memory = make(size);
      EXPECT_EQ(memory.size_bytes(), size);
      EXPECT_EQ(memory.gpu(), 0);
      write(memory, size - 4, 5);
      EXPECT_EQ(read(memory, size - 4), 5);
    }
  });
}

TEST_P(DeviceMemoryContract, SizesThatCannotBeAreRefused) {
  alone([] {
    EXPECT_THROW((void)make(0), UsageError);
    EXPECT_THROW((void)make(std::numeric_limits<std::size_t>::max()), UsageError);
  });
}

TEST_P(DeviceMemoryContract, AGpuThatIsNotThereIsNamed) {
  alone([] {
    for (const int gpu : {-1, 1000}) {
      try {
        (void)DeviceMemory::create(gpu, kSize, {.way = GetParam()});
        ADD_FAILURE() << gpu;
      } catch (const DeviceError& error) {
        EXPECT_NE(std::string(error.what()).find(fmt::format("no GPU {}", gpu)), std::string::npos) << error.what();
      }
    }
  });
}

TEST_P(DeviceMemoryContract, TooLittleMemorySaysHowMuchIsFree) {
  alone([] {
    constexpr std::size_t kPetabyte = (std::size_t{1} << 50) + 1;  // no whole number of pages
    try {
      (void)make(kPetabyte);
      ADD_FAILURE();
    } catch (const CudaError& error) {
      EXPECT_EQ(error.code(), cuda::kOutOfMemory);
      const std::string text = error.what();
      EXPECT_NE(text.find(fmt::format("{} bytes of GPU 0 were asked for", kPetabyte)), std::string::npos) << text;
      EXPECT_NE(text.find("are free"), std::string::npos) << text;
    }
  });
}

TEST_P(DeviceMemoryContract, AnotherSizeThanExpectedIsRefused) {
  alone([] {
    const auto memory = make();
    const DeviceShare share = memory.share();
    for (const std::size_t size : {kSize - 1, kSize + 1, std::size_t{0}}) {
      EXPECT_THROW((void)DeviceMemory::attach(share, size, kLayout), UsageError);
    }
    write(attach(share), 0, 7);
    EXPECT_EQ(read(memory, 0), 7);
  });
}

TEST_P(DeviceMemoryContract, AHandleThatLiesAboutTheSizeIsRefused) {
  alone([] {
    const std::size_t unit = DeviceMemory::granularity_bytes(0);
    const auto memory = make(3 * unit);
    DeviceShare share = memory.share();
    for (const std::size_t size : {2 * unit, 4 * unit}) {
      share.handle.size_bytes = size;
      EXPECT_THROW((void)DeviceMemory::attach(share, size), CudaError);
    }
    share.handle.size_bytes = 0;
    EXPECT_THROW((void)DeviceMemory::attach(share, 0), UsageError);
  });
}

TEST_P(DeviceMemoryContract, AnotherSizeIsRefusedInAnotherProcess) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
      },
      [](int socket) {
        DeviceShare share = receive(socket);
        share.handle.size_bytes = 2 * kSize;
        EXPECT_THROW((void)DeviceMemory::attach(share, 2 * kSize, kLayout), CudaError);
        share.handle.size_bytes = kSize;
        EXPECT_EQ(read(attach(share), 0), 11);
      });
}

TEST_P(DeviceMemoryContract, AnotherLayoutIsRefused) {
  alone([] {
    const auto memory = make();
    EXPECT_EQ(memory.layout_hash(), kLayout);
    try {
      (void)DeviceMemory::attach(memory.share(), kSize, 0x99);
      ADD_FAILURE();
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("hash 0000000000000099, not 0000000000001234"), std::string::npos)
          << error.what();
    }
    EXPECT_EQ(attach(memory.share()).layout_hash(), kLayout);
  });
}

TEST_P(DeviceMemoryContract, AHandleOfSomethingElseIsRefused) {
  alone([] {
    const auto memory = make();
    DeviceShare share = memory.share();
    if (by_descriptor()) {
      for (const int other : {::open("/dev/null", O_RDWR | O_CLOEXEC), ::memfd_create("host", MFD_CLOEXEC), -1}) {
        share.fd = Fd(other);
        EXPECT_THROW((void)attach(share), CudaError) << other;
      }
    } else {
      share.handle.ipc.bytes.fill(1);
      EXPECT_THROW((void)attach(share), CudaError);
    }
  });
}

TEST_P(DeviceMemoryContract, AHandleThatWasNeverFilledIsRefused) {
  alone([] {
    DeviceShare share;
    share.handle.size_bytes = kSize;
    EXPECT_THROW((void)DeviceMemory::attach(share, kSize), UsageError);
    share.handle.way = static_cast<Way>(99);
    EXPECT_THROW((void)DeviceMemory::attach(share, kSize), UsageError);
  });
}

TEST_P(DeviceMemoryContract, AGpuThatTheProcessDoesNotSeeIsRefused) {
  alone([] {
    const auto memory = make();
    DeviceShare share = memory.share();
    share.handle.gpu.bytes.fill(1);
    EXPECT_THROW((void)attach(share), DeviceError);
  });
}

TEST_P(DeviceMemoryContract, AGpuMayHaveAnotherNumberElsewhere) {
  if (!is_fake_) GTEST_SKIP() << "needs two GPUs";
  between(
      [](int socket) {
        const auto memory = DeviceMemory::create(1, kSize, {.layout_hash = kLayout, .way = GetParam()});
        EXPECT_EQ(memory.gpu(), 1);
        write(memory, 0, 11);
        send(socket, memory);
        hear_the_end(socket);
      },
      [](int socket) {
        ::setenv("FAKE_FIRST_GPU", "1", 1);
        const auto memory = attach(receive(socket));
        EXPECT_EQ(memory.gpu(), 0);
        EXPECT_EQ(read(memory, 0), 11);
      });
}

TEST_P(DeviceMemoryContract, AReadOnlyMapRefusesWrites) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear(socket);
        EXPECT_EQ(read(memory, 0), 11);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        const auto map = [&] { return DeviceMemory::attach(share, kSize, kLayout, DeviceMemory::Access::read_only); };
        if (by_descriptor()) {
          const auto memory = map();
          EXPECT_EQ(read(memory, 0), 11);
          EXPECT_THROW(write(memory, 0, 12), CudaError);
        } else {
          EXPECT_THROW((void)map(), UsageError);
        }
        say(socket);
      });
}

TEST_P(DeviceMemoryContract, AReadOnlyMapSeesWhatOthersWrite) {
  if (!by_descriptor()) GTEST_SKIP() << "CUDA IPC has no read-only maps";
  alone([] {
    const auto memory = make();
    const auto view = DeviceMemory::attach(memory.share(), kSize, kLayout, DeviceMemory::Access::read_only);
    write(memory, 8, 21);
    EXPECT_EQ(read(view, 8), 21);
  });
}

TEST_P(DeviceMemoryContract, ItOutlivesAMakerThatWasKilledWhileItWasMapped) {
  between(
      make_and_be_killed,
      [](int socket) {
        const auto memory = attach(receive(socket));
        say(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 11);
        write(memory, 0, 12);
        EXPECT_EQ(read(memory, 0), 12);
      },
      kKilled);
}

TEST_P(DeviceMemoryContract, OfAMakerThatWasKilledADescriptorIsEnoughAndAnIpcHandleIsRefused) {
  between(
      make_and_be_killed,
      [](int socket) {
        const DeviceShare share = receive(socket);
        say(socket);
        hear_the_end(socket);
        if (by_descriptor()) {
          EXPECT_EQ(read(attach(share), 0), 11);
        } else {
          EXPECT_THROW((void)attach(share), CudaError);
        }
      },
      kKilled);
}

TEST_P(DeviceMemoryContract, AShareStillInTheSocketOfADeadMakerIsGood) {
  if (!by_descriptor()) GTEST_SKIP() << "the memory is its maker's";
  auto [one, other] = socket_pair();
  const pid_t maker = start(one.get(), [](int socket) { (void)make_and_send(socket); });
  EXPECT_EQ(exit_code_of(maker), 0);
  one.reset();
  EXPECT_EQ(exit_code_of(start(other.get(), [](int socket) { EXPECT_EQ(read(attach(receive(socket)), 0), 11); })), 0);
}

TEST_P(DeviceMemoryContract, AHeldDescriptorKeepsTheContents) {
  if (!by_descriptor()) GTEST_SKIP() << "the memory is its maker's";
  alone([] {
    auto memory = std::make_unique<DeviceMemory>(make());
    write(*memory, 0, 9);
    const DeviceShare share = memory->share();
    memory.reset();
    EXPECT_EQ(live(), 0);
    EXPECT_EQ(read(attach(share), 0), 9);
  });
}

TEST_P(DeviceMemoryContract, AUserThatWasKilledDoesNoHarm) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 12);
        EXPECT_EQ(read(attach(memory.share()), 0), 12);
      },
      [](int socket) {
        const auto memory = attach(receive(socket));
        write(memory, 0, 12);
        ::raise(SIGKILL);
      },
      0, kKilled);
}

TEST_P(DeviceMemoryContract, AUserThatWasKilledBeforeItAttachedDoesNoHarm) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(attach(memory.share()), 0), 11);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        ::raise(SIGKILL);
      },
      0, kKilled);
}

TEST_P(DeviceMemoryContract, AUserMayComeBack) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 14);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        for (std::uint32_t i = 11; i < 14; ++i) {
          const auto memory = attach(share);
          EXPECT_EQ(read(memory, 0), i);
          write(memory, 0, i + 1);
        }
      });
}

TEST_P(DeviceMemoryContract, AttachedTwiceItIsTheSameMemory) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        const auto first = attach(share);
        auto second = std::make_unique<DeviceMemory>(attach(share));
        write(*second, 8, 4);
        EXPECT_EQ(read(first, 8), 4);
        second.reset();
        EXPECT_EQ(read(first, 8), 4);
      });
}

TEST_P(DeviceMemoryContract, WhoAttachedMaySendItOn) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 12);
      },
      [](int socket) {
        auto [mine, childs] = socket_pair();
        // Forked before this process uses CUDA.
        const pid_t third = start(childs.get(), [](int from) { write(attach(receive(from)), 0, 12); });
        {
          const auto memory = attach(receive(socket));
          send(mine.get(), memory);
          EXPECT_EQ(exit_code_of(third), 0);
          EXPECT_EQ(read(memory, 0), 12);
        }
      });
}

TEST_P(DeviceMemoryContract, TheMakersHandleMayGoFirst) {
  alone([] {
    std::vector<DeviceMemory> all = {make()};
    write(all.front(), 0, 9);
    all.push_back(attach(all.front().share()));
    all.erase(all.begin());
    EXPECT_EQ(read(all.front(), 0), 9);
  });
}

TEST_P(DeviceMemoryContract, ACopyIsTheSameMapping) {
  alone([] {
    std::vector<DeviceMemory> copies(2, make());
    EXPECT_EQ(copies[0].data(), copies[1].data());
    copies.pop_back();
    write(copies[0], 0, 3);
    EXPECT_EQ(read(copies[0], 0), 3);
  });
}

TEST_P(DeviceMemoryContract, TwoPiecesDoNotOverlap) {
  alone([] {
    const auto one = make(4);
    const auto other = make(4);
    write(one, 0, 1);
    write(other, 0, 2);
    EXPECT_EQ(read(one, 0), 1);
    EXPECT_EQ(read(other, 0), 2);
  });
}

TEST_P(DeviceMemoryContract, ManyPiecesComeAndGo) {
  alone([] {
    (void)make();
    const Footprint before = Footprint::now();
    const std::size_t free_before = free_bytes();
    for (int i = 0; i < 300; ++i) {
      const auto memory = make();
      (void)attach(memory.share());
    }
    EXPECT_EQ(Footprint::now(), before);
    EXPECT_EQ(free_bytes(), free_before);
  });
}

TEST_P(DeviceMemoryContract, ManyAttachmentsComeAndGo) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        (void)attach(share);
        const Footprint before = Footprint::now();
        for (int i = 0; i < 300; ++i) (void)attach(share);
        EXPECT_EQ(Footprint::now(), before);
      });
}

TEST_P(DeviceMemoryContract, AForkedChildCannotUseItAndDoesNoHarm) {
  alone([] {
    auto memory = std::make_unique<DeviceMemory>(make());
    write(*memory, 0, 11);
    const DeviceShare share = memory->share();
    const int code = exit_code_of_child([&] {
      EXPECT_THROW((void)memory->share(), UsageError);
      EXPECT_THROW((void)make(), UsageError);
      EXPECT_THROW((void)attach(share), UsageError);
      memory.reset();
      return HasFailure() ? 1 : 0;
    });
    EXPECT_EQ(code, 0);
    EXPECT_EQ(read(*memory, 0), 11);
  });
}

TEST_P(DeviceMemoryContract, AForkedChildOfAUserDoesNoHarm) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear_the_end(socket);
      },
      [](int socket) {
        auto memory = std::make_unique<DeviceMemory>(attach(receive(socket)));
        EXPECT_EQ(exit_code_of_child([&] {
                    memory.reset();
                    return 0;
                  }),
                  0);
        EXPECT_EQ(read(*memory, 0), 11);
      });
}

TEST_P(DeviceMemoryContract, ItsLastHandleMayGoInAnotherThread) {
  alone([] {
    auto memory = std::make_unique<DeviceMemory>(make());
    std::thread([&] { memory.reset(); }).join();
    EXPECT_EQ(live(), 0);
  });
}

TEST_P(DeviceMemoryContract, AnotherThreadMayMakeAndAttach) {
  alone([] {
    const auto memory = make();
    std::thread([&] { write(attach(memory.share()), 0, 5); }).join();
    EXPECT_EQ(read(memory, 0), 5);
    std::vector<DeviceMemory> made;
    std::thread([&] { made.push_back(make()); }).join();
    write(made.front(), 0, 6);
    EXPECT_EQ(read(made.front(), 0), 6);
  });
}

TEST_P(DeviceMemoryContract, AutomaticIsWhatTheDriverCan) {
  if (!is_fake_) GTEST_SKIP() << "a real driver can what it can";
  alone([] {
    if (!by_descriptor()) ::setenv("FAKE_NO_DESCRIPTORS", "1", 1);
    EXPECT_EQ(DeviceMemory::create(0, kSize).share().handle.way, GetParam());
    if (!by_descriptor()) {
      EXPECT_THROW((void)DeviceMemory::create(0, kSize, {.way = Way::descriptor}), CudaError);
    }
  });
}

/// Runs `body` with its first, second, … call of the driver failing, until it makes fewer; each must throw and leave
/// what was there before.
void fail_every_call(const std::function<void()>& body) {
  auto* const fail_call = of_fake<void(int)>("fake_driver_fail_call");
  auto* const calls = of_fake<int()>("fake_driver_calls");
  const Footprint before = Footprint::now();
  const int live_before = live();
  int failures = 0;
  for (int count = 1;; ++count) {
    const int first = calls();
    fail_call(count);
    try {
      body();
      fail_call(0);
      if (calls() - first < count) break;
      ADD_FAILURE() << "call " << count << " failed, and nobody was told";
    } catch (const CudaError& error) {
      EXPECT_EQ(error.code(), 999);
      ++failures;
    }
    EXPECT_EQ(live(), live_before) << "after call " << count;
    EXPECT_EQ(Footprint::now(), before) << "after call " << count;
  }
  EXPECT_GT(failures, 0);
}

TEST_P(DeviceMemoryContract, AnErrorOfAnyCallLeavesNothing) {
  if (!is_fake_) GTEST_SKIP() << "a real driver does not fail when asked to";
  between(
      [](int socket) {
        std::vector<DeviceMemory> kept;  // its end is not among the calls that fail
        (void)cuda_driver();             // loads it
        fail_every_call([&] { kept.push_back(make()); });
        const DeviceMemory memory = kept.front();
        const DeviceShare share = memory.share();
        fail_every_call([&] { kept.push_back(attach(share)); });
        fail_every_call([&] { (void)memory.share(); });
        EXPECT_EQ(kept.size(), 2);
        send(socket, memory);
        hear_the_end(socket);
      },
      [](int socket) {
        const DeviceShare share = receive(socket);
        std::vector<DeviceMemory> kept;
        (void)cuda_driver();
        fail_every_call([&] { kept.push_back(attach(share)); });
        EXPECT_EQ(kept.size(), 1);
      });
}

}  // namespace
}  // namespace hogpen
