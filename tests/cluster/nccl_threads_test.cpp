// What NcclThreads does on the fake NCCL and the fake driver, whose GPU memory the host reads and writes.
#include "runtime/cluster/nccl_threads.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "runtime/cluster/nccl_library.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "tests/expect_throw.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr std::array kGpus{2, 0, 1};

class NcclThreadsTest : public LeavesNothing<> {
 protected:
  /// In a process of its own, with the fake NCCL: CUDA leaves its mark on one.
  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of_child([&] {
                void* const nccl = ::dlopen(FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
                body();
                EXPECT_EQ(reinterpret_cast<int (*)()>(::dlsym(nccl, "fake_nccl_live"))(), 0);
                return HasFailure() ? 1 : 0;
              }),
              0);
  }

  static at::Tensor number_on(int gpu, float number) {
    at::Tensor tensor = tensor_on_gpu(gpu, c10::ScalarType::Float, 1);
    *static_cast<float*>(tensor.mutable_data_ptr()) = number;
    return tensor;
  }
  static float in(const at::Tensor& tensor) { return *static_cast<const float*>(tensor.const_data_ptr()); }

  /// All members wait for each other. Takes as long as NcclThreads has patience, if somebody is waited for in vain.
  static void meet(Group& member) { member.barrier(Deadline::after(NcclThreads::kPatience)); }

  void expect_no_wait() const { EXPECT_FALSE(soon_.has_passed()); }

 private:
  // Less than the members' patience, and than the end of a communicator whose other members do not come to it.
  Deadline soon_ = Deadline::after(4s);
};

TEST_F(NcclThreadsTest, EachMemberDoesItsPartOnAGpuOfItsOwnTimeAfterTime) {
  alone([] {
    NcclThreads group(kGpus);
    for (int round = 1; round <= 3; ++round) {
      std::atomic<int> parts = 0;
      group.run([&](Group& member) {
        const int gpu = kGpus.at(static_cast<std::size_t>(member.rank()));
        const at::Tensor number = number_on(gpu, static_cast<float>(gpu * round));
        member.all_reduce(number, Reduction::sum, Deadline::after(NcclThreads::kPatience));
        EXPECT_EQ(in(number), static_cast<float>(3 * round));
        EXPECT_NE(current_stream(number.device()), nullptr);
        ++parts;
      });
      EXPECT_EQ(parts, 3);
    }
    group.check();
  });
}

TEST_F(NcclThreadsTest, MayEndWithoutAnyPart) {
  alone([] { const NcclThreads group(kGpus); });
}

TEST_F(NcclThreadsTest, WhatAPartThrowsEndsTheGroupForAll) {
  alone([&] {
    NcclThreads group(kGpus);
    group.run(meet);
    std::atomic<int> parts = 0;
    const NcclThreads::Part part = [&](Group& member) {
      require(member.rank() != 1, "no part of rank {}", member.rank());
      meet(member);
      ++parts;
    };
    for (int i = 0; i < 2; ++i) {
      expect_throw<UsageError>("no part of rank 1", [&] { group.run(part); });
      expect_throw<UsageError>("no part of rank 1", [&] { group.check(); });
    }
    EXPECT_EQ(parts, 0);
    expect_no_wait();
  });
}

TEST_F(NcclThreadsTest, AMemberThatCannotJoinIsNotWaitedFor) {
  alone([&] {
    NcclThreads group(std::array{0, 7});
    expect_throw<DeviceError>("there is no GPU 7", [&] { group.run(meet); });
    expect_no_wait();
  });
}

TEST_F(NcclThreadsTest, AnOldNcclIsRefused) {
  alone([] {
    ::setenv("FAKE_NCCL_VERSION", "21805", 1);
    expect_throw<DeviceError>("hogpen needs 2.28.0 or newer", [] { const NcclThreads group(kGpus); });
  });
}

}  // namespace
}  // namespace hogpen
