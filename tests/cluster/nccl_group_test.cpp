// What NcclGroup does beside the contract of a Group, which group_test.cpp has: finding NCCL, and its errors. All on a
// fake NCCL and a fake driver.
#include "runtime/cluster/nccl_group.h"

#include <ATen/ops/from_blob.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runtime/core/libtorch.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr int kInvalidUsage = 5;
constexpr int kRemoteError = 6;

Deadline patience() {
  return Deadline::after(30s);
}

template <class Function>
Function* of(const char* library, const char* name) {
  void* const opened = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!opened) throw Error(::dlerror());
  return reinterpret_cast<Function*>(::dlsym(opened, name));
}

int live() {
  return of<int()>(FAKE_NCCL, "fake_nccl_live")();
}

int aborted() {
  return of<int()>(FAKE_NCCL, "fake_nccl_aborted")();
}

void fail(const char* function, int result) {
  of<void(const char*, int)>(FAKE_NCCL, "fake_nccl_fail")(function, result);
}

void fail_later(int result) {
  of<void(int)>(FAKE_NCCL, "fake_nccl_async_error")(result);
}

class NcclGroupTest : public LeavesNothing<> {
 protected:
  /// In a process of its own, with the fake NCCL: CUDA leaves its mark on one.
  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of_child([&] {
                EXPECT_EQ(live(), 0);  // loads it
                try {
                  body();
                } catch (const std::exception& error) {
                  ADD_FAILURE() << error.what();
                }
                EXPECT_EQ(live(), 0);
                return HasFailure() ? 1 : 0;
              }),
              0);
  }

  static NcclGroup lone() { return {SharedGroup::Memory({.world_size = 1}), 0, {.gpu = 0}, patience()}; }

  static at::Tensor on_gpu(std::vector<float>& numbers) {
    const c10::Device gpu(c10::kCUDA, 0);
    return at::for_blob(numbers.data(), {static_cast<std::int64_t>(numbers.size())})
        .options(at::TensorOptions().dtype(at::kFloat).device(gpu))
        .target_device(gpu)
        .make_tensor();
  }

  template <class Exception>
  static void expect_throw(const std::function<void()>& expression, const std::string& text) {
    try {
      expression();
      ADD_FAILURE() << "nothing was thrown: " << text;
    } catch (const Exception& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
};

TEST_F(NcclGroupTest, TheLibraryThatIsLoadedAlreadyIsTaken) {
  alone([] { EXPECT_EQ(NcclLibrary().path(), FAKE_NCCL); });
}

TEST_F(NcclGroupTest, ElseTheOneOfLibTorchIsTaken) {
  EXPECT_EQ(exit_code_of_child([] {
              try {
                const NcclLibrary library;
                const bool has_wheel =
                    std::filesystem::exists(libtorch_directory() / "../../nvidia/nccl/lib/libnccl.so.2");
                EXPECT_EQ(library.path().find("nvidia/nccl/lib/libnccl.so.2") != std::string::npos, has_wheel)
                    << library.path();
                EXPECT_GE(library.version(), 22800);
              } catch (const DeviceError& error) {  // LibTorch without its wheels
                EXPECT_NE(std::string(error.what()).find("no NCCL"), std::string::npos) << error.what();
              }
              return HasFailure() ? 1 : 0;
            }),
            0);
}

TEST_F(NcclGroupTest, AnOldLibraryIsRefused) {
  alone([] {
    ::setenv("FAKE_NCCL_VERSION", "21805", 1);
    expect_throw<DeviceError>([] { (void)NcclLibrary(); }, "is NCCL 2.18.5, but hogpen needs 2.28.0 or newer");
  });
}

TEST_F(NcclGroupTest, AFunctionThatIsNotThereIsNamed) {
  alone([] { expect_throw<NcclError>([] { (void)NcclLibrary().result_of("ncclNone"); }, "has no ncclNone"); });
}

TEST_F(NcclGroupTest, TwoRanksOnOneGpuAreRefused) {
  alone([] {
    const SharedGroup::Memory memory({.world_size = 2});
    const auto join = [&](int rank) {
      expect_throw<UsageError>([&] { NcclGroup(memory, rank, {.gpu = 1}, patience()); },
                               "ranks 0 and 1 have the same GPU");
    };
    std::thread other([&] { join(1); });
    join(0);
    other.join();
  });
}

TEST_F(NcclGroupTest, AGpuThatIsNotThereIsNamed) {
  alone([] {
    const SharedGroup::Memory memory({.world_size = 1});
    expect_throw<DeviceError>([&] { NcclGroup(memory, 0, {.gpu = 99}, patience()); }, "there is no GPU 99");
  });
}

TEST_F(NcclGroupTest, WhoFailsToJoinIsNotWaitedFor) {
  alone([] {
    const SharedGroup::Memory memory({.world_size = 2});
    std::thread other([&] {
      expect_throw<DeviceError>([&] { NcclGroup(memory, 1, {.gpu = 99}, patience()); }, "there is no GPU 99");
    });
    expect_throw<GroupError>([&] { NcclGroup(memory, 0, {.gpu = 0}, patience()); }, "rank 1 has left the group");
    other.join();
  });
}

TEST_F(NcclGroupTest, TheErrorOfACallHasNcclsOwnWordsAndEndsTheGroup) {
  alone([] {
    std::vector<float> numbers(10, 1.0F);
    NcclGroup group = lone();
    fail("ncclAllReduce", 1);
    const auto call = [&] { group.all_reduce(on_gpu(numbers), Reduction::sum, patience()); };
    expect_throw<NcclError>(call, "ncclAllReduce says: some error (error 1): the fake's last words");
    fail("", 0);
    EXPECT_EQ(aborted(), 1);
    expect_throw<GroupError>(call, "rank 0 aborted the group");
    for (const char* function : {"ncclGetUniqueId", "ncclCommInitRankConfig", "ncclCommGetAsyncError"}) {
      fail(function, kInvalidUsage);
      expect_throw<NcclError>([] { (void)lone(); }, std::string(function) + " says: some error (error 5)");
    }
  });
}

TEST_F(NcclGroupTest, AnErrorThatComesLaterIsOfTheCallThatIsInProgress) {
  alone([] {
    std::vector<float> numbers(10, 1.0F);
    NcclGroup group = lone();
    fail_later(kRemoteError);
    try {
      group.broadcast(on_gpu(numbers), 0, patience());
      ADD_FAILURE();
    } catch (const NcclError& error) {
      EXPECT_EQ(error.code(), kRemoteError);
      EXPECT_NE(std::string(error.what()).find("ncclBroadcast says: remote process exited"), std::string::npos);
    }
    EXPECT_EQ(aborted(), 1);
  });
}

TEST_F(NcclGroupTest, AnErrorThatComesWhileTheStreamWorksEndsTheVerb) {
  alone([] {
    std::vector<float> numbers(10, 1.0F);
    NcclGroup group = lone();
    of<void(int)>("libcuda.so.1", "fake_driver_busy_queries")(1'000'000'000);
    std::thread later([] {
      std::this_thread::sleep_for(50ms);
      fail_later(kRemoteError);
    });
    expect_throw<NcclError>([&] { group.all_reduce(on_gpu(numbers), Reduction::sum, Deadline::after(5s)); },
                            "ncclAllReduce says: remote process exited");
    later.join();
    EXPECT_EQ(aborted(), 1);
  });
}

TEST_F(NcclGroupTest, AMemberWhoseDeadlinePassesWhileJoiningAbortsTheCommunicator) {
  alone([] {
    const SharedGroup::Memory memory({.world_size = 1});
    fail_later(nccl::kInProgress);  // for ever
    expect_throw<TimeoutError>([&] { NcclGroup(memory, 0, {.gpu = 0}, Deadline::after(50ms)); },
                               "joining the group: all have come, but it did not end before the deadline");
    EXPECT_EQ(aborted(), 1);
  });
}

TEST_F(NcclGroupTest, AVerbEndsOnceTheStreamHasDoneIt) {
  alone([] {
    std::vector<float> numbers(10, 1.0F);
    NcclGroup group = lone();
    const auto busy = of<void(int)>("libcuda.so.1", "fake_driver_busy_queries");
    busy(20);
    group.all_reduce(on_gpu(numbers), Reduction::sum, patience());
    busy(1'000'000'000);
    expect_throw<TimeoutError>([&] { group.all_reduce(on_gpu(numbers), Reduction::sum, Deadline::after(50ms)); },
                               "it did not end before the deadline");
    EXPECT_EQ(aborted(), 1);
  });
}

TEST_F(NcclGroupTest, AGoodEndAbortsNothing) {
  alone([] {
    {
      const NcclGroup group = lone();
    }
    EXPECT_EQ(aborted(), 0);
  });
}

TEST_F(NcclGroupTest, WhatAForkedChildDoesWithItsCopyIsNotLeaving) {
  alone([] {
    auto group = std::make_unique<NcclGroup>(SharedGroup::Memory({.world_size = 1}), 0, NcclGroup::Options{.gpu = 0},
                                             patience());
    EXPECT_EQ(exit_code_of_child([&] {
                group.reset();
                return live() == 1 ? 0 : 1;  // NCCL was told nothing
              }),
              0);
    group.reset();
    EXPECT_EQ(aborted(), 0);
  });
}

TEST_F(NcclGroupTest, TensorsElsewhereAreRefused) {
  alone([] {
    std::vector<float> numbers(10, 1.0F);
    NcclGroup group = lone();
    const at::Tensor on_host = at::from_blob(numbers.data(), {10}, at::kFloat);
    expect_throw<UsageError>([&] { group.broadcast(on_host, 0, patience()); }, "tensors on cuda:0");
  });
}

}  // namespace
}  // namespace hogpen
