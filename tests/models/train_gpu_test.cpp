// How a training comes into the memory of two GPUs, on the fake driver and the fake NCCL: from the host to the first,
// and from there to the other by broadcast.
#include "models/train_gpu.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "runtime/cluster/nccl_library.h"
#include "runtime/core/error.h"
#include "tests/expect_throw.h"
#include "tests/models/several_gpus.h"

namespace hogpen {
namespace {

class TrainGpu : public OnSeveralGpus {
 protected:
  /// A keeper whose host has other numbers than new memory.
  struct Keeper : KeeperOnGpus {
    explicit Keeper(const TrainerOptions& options) : KeeperOnGpus(options, make_zeros) {
      for (const std::span<std::byte> bytes : {plan.model.data(), plan.optimizer_state.data()}) {
        std::ranges::fill(bytes, std::byte{7});
      }
    }

    void expect_the_hosts() const {
      for (const detail::GpuTraining& gpu : replicas) {
        EXPECT_TRUE(std::ranges::equal(gpu.model.data(), plan.model.data()));
        EXPECT_TRUE(std::ranges::equal(gpu.optimizer_state.data(), plan.optimizer_state.data()));
        const std::span<const std::byte> samples = plan.data.train.samples().bytes();
        ASSERT_EQ(gpu.samples.nbytes(), samples.size());
        EXPECT_EQ(std::memcmp(gpu.samples.const_data_ptr(), samples.data(), samples.size()), 0);
      }
    }

    [[nodiscard]] bool is_ready() const { return plan.shared().gpus_are_ready.load() != 0; }
  };

  static std::size_t bytes_from_host() {
    void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return reinterpret_cast<std::size_t (*)()>(::dlsym(driver, "fake_driver_bytes_from_host"))();
  }
};

TEST_F(TrainGpu, TheHostsMemoryIsReadOnceForAllGpus) {
  alone([&] {
    Keeper keeper(on_both("once", 2));
    keeper.begin();
    keeper.expect_the_hosts();
    EXPECT_TRUE(keeper.is_ready());
    EXPECT_EQ(bytes_from_host(), keeper.plan.model.data().size() + keeper.plan.optimizer_state.data().size() +
                                     keeper.plan.data.train.samples().size_bytes());
  });
}

TEST_F(TrainGpu, SamplesThatStayOnTheHostAreNotCopied) {
  alone([&] {
    Keeper keeper(on_both("host", 2));
    keeper.plan.has_samples_on_gpus = false;
    keeper.begin();
    keeper.expect_the_hosts();
    EXPECT_EQ(bytes_from_host(), keeper.plan.model.data().size() + keeper.plan.optimizer_state.data().size());
  });
}

TEST_F(TrainGpu, ASuccessorFillsWhatWasNotReadyAndLeavesWhatWas) {
  alone([&] {
    Keeper keeper(on_both("successor", 2));
    fail_nccl("ncclBroadcast");
    expect_throw<NcclError>("ncclBroadcast says: some error", [&] { keeper.begin(); });
    EXPECT_FALSE(keeper.is_ready());
    fail_nccl("");
    keeper.begin();
    keeper.expect_the_hosts();
    EXPECT_TRUE(keeper.is_ready());
    for (const std::size_t gpu : {0, 1}) keeper.parameters(gpu)[0] = 3.0F + static_cast<float>(gpu);
    keeper.begin();
    for (const std::size_t gpu : {0, 1}) EXPECT_EQ(keeper.parameters(gpu)[0], 3.0F + static_cast<float>(gpu));
  });
}

}  // namespace
}  // namespace hogpen
