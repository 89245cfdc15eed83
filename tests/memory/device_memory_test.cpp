// The contract of DeviceMemory. ctest runs it twice: on the fake driver, and on the real one where there is a GPU.
#include "runtime/memory/device_memory.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/core/fd_passing.h"
#include "runtime/memory/cuda_driver.h"
#include "tests/fake_cuda/fake_driver.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

constexpr std::size_t kSize = 5'000'000;
constexpr int kNoGpu = 77;

cuda::Address address_of(const DeviceMemory& memory, std::size_t at) {
  return reinterpret_cast<cuda::Address>(memory.data() + at);
}

void write(const DeviceMemory& memory, std::size_t at, std::uint32_t value) {
  cuda_driver().call("cuMemcpyHtoD_v2", address_of(memory, at), static_cast<const void*>(&value), sizeof(value));
}

std::uint32_t read(const DeviceMemory& memory, std::size_t at) {
  std::uint32_t value = 0;
  cuda_driver().call("cuMemcpyDtoH_v2", static_cast<void*>(&value), address_of(memory, at), sizeof(value));
  return value;
}

Fd receive_from(int socket) {
  return receive_fd(socket, Deadline::after(std::chrono::seconds(30)));
}

/// Memory that begins with 11, of which whoever is at the other end has a descriptor.
DeviceMemory make_and_send(int socket) {
  auto memory = DeviceMemory::create(0, kSize);
  write(memory, 0, 11);
  send_fd(socket, memory.share().get());
  return memory;
}

/// The fake driver's own functions; null where the driver is real.
template <class Function>
Function* of_fake(const char* name) {
  void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(library ? ::dlsym(library, name) : nullptr);
}

int live() {
  auto* const count = of_fake<int()>("fake_driver_live");
  return count ? count() : 0;
}

/// A process that uses CUDA can fork no more: whatever does is a child of the test, with a socket to another one.
class DeviceMemoryContract : public LeavesNothing<> {
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
      return 0;
    });
    if (code == kNoGpu) GTEST_SKIP() << "no GPU";
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
  /// In two, until both have ended; `maker_ends` is what the first one's exit code must be.
  static void between(const Body& maker, const Body& user, int maker_ends = 0) {
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
    EXPECT_EQ(exit_code_of(second), 0);
  }

  static void say(int socket) { ASSERT_EQ(::write(socket, "x", 1), 1); }
  static void hear(int socket) {
    char byte = 0;
    ASSERT_EQ(::read(socket, &byte, 1), 1);
  }
  static void make_and_be_killed(int socket) {
    const auto memory = make_and_send(socket);
    hear(socket);
    ::raise(SIGKILL);
  }
  static void hear_the_end(int socket) {
    char byte = 0;
    ASSERT_EQ(::read(socket, &byte, 1), 0);
  }
};

TEST_F(DeviceMemoryContract, WhatOneProcessWritesAnotherReads) {
  between(
      [](int socket) {
        const auto memory = DeviceMemory::create(0, kSize);
        write(memory, 0, 11);
        write(memory, kSize - 4, 22);
        send_fd(socket, memory.share().get());
        hear(socket);
        EXPECT_EQ(read(memory, 4), 33);
      },
      [](int socket) {
        const auto memory = DeviceMemory::attach(receive_from(socket), 0, kSize);
        EXPECT_EQ(read(memory, 0), 11);
        EXPECT_EQ(read(memory, kSize - 4), 22);
        write(memory, 4, 33);
        say(socket);
      });
}

TEST_F(DeviceMemoryContract, ItsSizeIsWhatWasAskedFor) {
  alone([] {
    const std::size_t unit = DeviceMemory::granularity_bytes(0);
    for (const std::size_t size : {std::size_t{4}, unit - 1, unit, unit + 4}) {
      const auto memory = DeviceMemory::create(0, size);
      EXPECT_EQ(memory.size_bytes(), size);
      EXPECT_EQ(memory.gpu(), 0);
      write(memory, size - 4, 5);
      EXPECT_EQ(read(memory, size - 4), 5);
    }
  });
}

TEST_F(DeviceMemoryContract, SizesThatCannotBeAreRefused) {
  alone([] {
    EXPECT_THROW((void)DeviceMemory::create(0, 0), UsageError);
    EXPECT_THROW((void)DeviceMemory::create(0, std::numeric_limits<std::size_t>::max()), UsageError);
  });
}

TEST_F(DeviceMemoryContract, AGpuThatIsNotThereIsNamed) {
  alone([] {
    for (const int gpu : {-1, 1000}) {
      try {
        (void)DeviceMemory::create(gpu, kSize);
        ADD_FAILURE() << gpu;
      } catch (const DeviceError& error) {
        EXPECT_NE(std::string(error.what()).find(fmt::format("no GPU {}", gpu)), std::string::npos) << error.what();
      }
    }
  });
}

TEST_F(DeviceMemoryContract, TooLittleMemorySaysHowMuchIsFree) {
  alone([] {
    constexpr std::size_t kPetabyte = std::size_t{1} << 50;
    try {
      (void)DeviceMemory::create(0, kPetabyte);
      ADD_FAILURE();
    } catch (const CudaError& error) {
      EXPECT_EQ(error.code(), cuda::kOutOfMemory);
      const std::string text = error.what();
      EXPECT_NE(text.find(fmt::format("{} bytes of GPU 0 were asked for", kPetabyte)), std::string::npos) << text;
      EXPECT_NE(text.find("are free"), std::string::npos) << text;
    }
  });
}

TEST_F(DeviceMemoryContract, AnotherSizeIsRefused) {
  alone([] {
    const std::size_t unit = DeviceMemory::granularity_bytes(0);
    const auto memory = DeviceMemory::create(0, 3 * unit);
    const Fd fd = memory.share();
    EXPECT_THROW((void)DeviceMemory::attach(fd, 0, 4 * unit), CudaError);
    EXPECT_THROW((void)DeviceMemory::attach(fd, 0, 2 * unit), CudaError);
    EXPECT_THROW((void)DeviceMemory::attach(fd, 0, 0), UsageError);
    write(DeviceMemory::attach(fd, 0, 3 * unit), 0, 7);
    EXPECT_EQ(read(memory, 0), 7);
  });
}

TEST_F(DeviceMemoryContract, ADescriptorOfSomethingElseIsRefused) {
  alone([] {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const Fd host(::memfd_create("host", MFD_CLOEXEC));
    const Fd none;
    for (const Fd* fd : {&null, &host, &none}) EXPECT_THROW((void)DeviceMemory::attach(*fd, 0, kSize), CudaError);
  });
}

TEST_F(DeviceMemoryContract, AReadOnlyMapRefusesWrites) {
  between(
      [](int socket) {
        const auto memory = make_and_send(socket);
        hear(socket);
        EXPECT_EQ(read(memory, 0), 11);
      },
      [](int socket) {
        const Fd fd = receive_from(socket);
        const auto memory = DeviceMemory::attach(fd, 0, kSize, DeviceMemory::Access::read_only);
        EXPECT_EQ(read(memory, 0), 11);
        EXPECT_THROW(write(memory, 0, 12), CudaError);
        say(socket);
      });
}

TEST_F(DeviceMemoryContract, ItOutlivesAMakerThatWasKilledWhileItWasMapped) {
  between(
      make_and_be_killed,
      [](int socket) {
        const auto memory = DeviceMemory::attach(receive_from(socket), 0, kSize);
        say(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 11);
        write(memory, 0, 12);
        EXPECT_EQ(read(memory, 0), 12);
      },
      128 + SIGKILL);
}

TEST_F(DeviceMemoryContract, ItOutlivesAMakerThatWasKilledWhileOnlyADescriptorWasHeld) {
  between(
      make_and_be_killed,
      [](int socket) {
        const Fd fd = receive_from(socket);
        say(socket);
        hear_the_end(socket);
        EXPECT_EQ(read(DeviceMemory::attach(fd, 0, kSize), 0), 11);
      },
      128 + SIGKILL);
}

TEST_F(DeviceMemoryContract, ADescriptorStillInTheSocketOfADeadMakerIsGood) {
  auto [one, other] = socket_pair();
  const pid_t maker = start(one.get(), [](int socket) { (void)make_and_send(socket); });
  EXPECT_EQ(exit_code_of(maker), 0);
  one.reset();
  EXPECT_EQ(exit_code_of(start(other.get(),
                               [](int socket) {
                                 const Fd fd = receive_from(socket);
                                 EXPECT_EQ(read(DeviceMemory::attach(fd, 0, kSize), 0), 11);
                               })),
            0);
}

TEST_F(DeviceMemoryContract, AKilledUserDoesNoHarm) {
  between(
      [](int socket) {
        const auto memory = DeviceMemory::create(0, kSize);
        write(memory, 0, 11);
        const Fd fd = memory.share();
        send_fd(socket, fd.get());
        hear_the_end(socket);
        EXPECT_EQ(read(memory, 0), 12);
        EXPECT_EQ(read(DeviceMemory::attach(fd, 0, kSize), 0), 12);
      },
      [](int socket) {
        // A child of its own, so that its end by a signal is not this one's.
        const int code = exit_code_of_child([&] {
          const auto memory = DeviceMemory::attach(receive_from(socket), 0, kSize);
          write(memory, 0, 12);
          return ::raise(SIGKILL);
        });
        EXPECT_EQ(code, 128 + SIGKILL);
      });
}

TEST_F(DeviceMemoryContract, AttachedMemoryCanBeSharedAgain) {
  alone([] {
    const auto memory = DeviceMemory::create(0, kSize);
    const auto second = DeviceMemory::attach(memory.share(), 0, kSize);
    const auto third = DeviceMemory::attach(second.share(), 0, kSize);
    write(third, 8, 4);
    EXPECT_EQ(read(memory, 8), 4);
    EXPECT_NE(third.data(), memory.data());
  });
}

TEST_F(DeviceMemoryContract, TheMakersHandleMayGoFirst) {
  alone([] {
    std::vector<DeviceMemory> all = {DeviceMemory::create(0, kSize)};
    write(all.front(), 0, 9);
    all.push_back(DeviceMemory::attach(all.front().share(), 0, kSize));
    all.erase(all.begin());
    EXPECT_EQ(read(all.front(), 0), 9);
  });
}

TEST_F(DeviceMemoryContract, ACopyIsTheSameMapping) {
  alone([] {
    std::vector<DeviceMemory> copies(2, DeviceMemory::create(0, kSize));
    EXPECT_EQ(copies[0].data(), copies[1].data());
    copies.pop_back();
    write(copies[0], 0, 3);
    EXPECT_EQ(read(copies[0], 0), 3);
  });
}

TEST_F(DeviceMemoryContract, ManyPiecesComeAndGo) {
  alone([] {
    {
      const auto warm_up = DeviceMemory::create(0, kSize);
    }
    const Footprint before = Footprint::now();
    for (int i = 0; i < 300; ++i) {
      const auto memory = DeviceMemory::create(0, kSize);
      (void)DeviceMemory::attach(memory.share(), 0, kSize);
    }
    EXPECT_EQ(Footprint::now(), before);
  });
}

TEST_F(DeviceMemoryContract, AForkedChildCannotUseItAndDoesNoHarm) {
  alone([] {
    auto memory = std::make_unique<DeviceMemory>(DeviceMemory::create(0, kSize));
    write(*memory, 0, 11);
    const Fd fd = memory->share();
    const int code = exit_code_of_child([&] {
      EXPECT_THROW((void)memory->share(), UsageError);
      EXPECT_THROW((void)DeviceMemory::create(0, kSize), UsageError);
      EXPECT_THROW((void)DeviceMemory::attach(fd, 0, kSize), UsageError);
      memory.reset();
      return HasFailure() ? 1 : 0;
    });
    EXPECT_EQ(code, 0);
    EXPECT_EQ(read(*memory, 0), 11);
  });
}

/// Runs `body` with its first, second, … call of the driver failing, until it makes fewer; each must throw and leave
/// what was there before. A real driver does not fail when asked to.
void fail_every_call(const std::function<void()>& body) {
  (void)cuda_driver();  // loads it
  auto* const fail_call = of_fake<void(int)>("fake_driver_fail_call");
  auto* const calls = of_fake<int()>("fake_driver_calls");
  if (!fail_call || !calls) return body();
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

TEST_F(DeviceMemoryContract, AnErrorOfAnyCallLeavesNothing) {
  alone([] {
    std::vector<DeviceMemory> kept;  // its end is not among the calls that fail
    fail_every_call([&] { kept.push_back(DeviceMemory::create(0, kSize)); });
    const DeviceMemory memory = kept.front();
    const Fd fd = memory.share();
    fail_every_call([&] { kept.push_back(DeviceMemory::attach(fd, 0, kSize)); });
    fail_every_call([&] { (void)memory.share(); });
    EXPECT_EQ(kept.size(), 2);
    EXPECT_NE(kept[0].data(), kept[1].data());
  });
}

}  // namespace
}  // namespace hogpen
