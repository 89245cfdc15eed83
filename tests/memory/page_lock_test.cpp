// Memory of the host for GPUs, on the fake driver, which refuses to lock it twice.
#include "runtime/memory/page_lock.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <functional>
#include <optional>

#include "runtime/memory/cuda_driver.h"
#include "tests/fake_cuda/of_fake.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

class PageLockTest : public LeavesNothing<> {
 protected:
  /// In a process of its own, which has begun to use GPU 0 and must leave nothing locked.
  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of_child([&] {
                (void)use_gpu(0);
                body();
                EXPECT_EQ(live(), 0);
                return HasFailure() ? 1 : 0;
              }),
              0);
  }
  static int live() { return of_fake<int()>("fake_driver_live")(); }
  static void fail_call(int count) { of_fake<void(int)>("fake_driver_fail_call")(count); }
  static int calls() { return of_fake<int()>("fake_driver_calls")(); }
};

TEST_F(PageLockTest, LocksOnceHoweverOftenItIsMade) {
  alone([] {
    std::array<std::byte, 4096> memory{};
    std::optional<PageLock> first(std::in_place, memory.data(), memory.size(), 0);
    const PageLock second(memory.data(), memory.size(), 1);
    EXPECT_EQ(live(), 1);
    EXPECT_EQ(first->on_gpu(), second.on_gpu());
    first.reset();
    EXPECT_EQ(live(), 1);
  });
}

TEST_F(PageLockTest, AnErrorOfAnyCallLeavesNothingLockedAndTheNextOneLocks) {
  alone([] {
    std::array<std::byte, 4096> memory{};
    int failures = 0;
    for (int count = 1; count < 100; ++count) {
      const int first = calls();
      fail_call(count);
      try {
        const PageLock lock(memory.data(), memory.size(), 0);
        fail_call(0);
        if (calls() - first < count) break;
        ADD_FAILURE() << "call " << count << " failed, and nobody was told";
      } catch (const CudaError&) {
        ++failures;
        fail_call(0);
      }
      EXPECT_EQ(live(), 0) << "after call " << count;
      const PageLock next(memory.data(), memory.size(), 0);
      EXPECT_EQ(next.on_gpu(), memory.data());
    }
    EXPECT_GT(failures, 2);
  });
}

}  // namespace
}  // namespace hogpen
