// An Arena in GPU memory. On the fake driver a tensor's address is one of the host, where a test can look.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/core/fd_passing.h"
#include "runtime/memory/arena.h"
#include "tests/footprint.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

using GpuArena = LeavesNothing<>;

Arena make_host_arena() {
  std::vector<TensorSpec> specs = {{"0.weight", c10::ScalarType::Float, {3, 5}},
                                   {"0.bias", c10::ScalarType::Float, {3}},
                                   {"steps", c10::ScalarType::Long, {}}};
  Arena arena = Arena::create("host", specs, {{"format", "pt"}});
  std::memset(arena.data().data(), 0, arena.data().size());
  arena.tensor("0.weight").data_ptr<float>()[7] = 1.5F;
  arena.tensor("steps").data_ptr<std::int64_t>()[0] = 42;
  return arena;
}

void alone(const std::function<void()>& body) {
  EXPECT_EQ(exit_code_of_child([&] {
              body();
              return testing::Test::HasFailure() ? 1 : 0;
            }),
            0);
}

TEST_F(GpuArena, HasTheSameTensorsByTheSameNames) {
  alone([] {
    const Arena host = make_host_arena();
    const Arena gpu = host.on(host.device_memory(1));
    EXPECT_EQ(gpu.device(), c10::Device(c10::DeviceType::CUDA, 1));
    EXPECT_EQ(gpu.layout_hash(), host.layout_hash());
    for (const char* name : {"0.weight", "0.bias", "steps"}) {
      const at::Tensor tensor = gpu.tensor(name);
      const at::Tensor of_host = host.tensor(name);
      EXPECT_TRUE(tensor.is_cuda());
      EXPECT_EQ(tensor.device(), gpu.device());
      EXPECT_EQ(tensor.sizes(), of_host.sizes());
      EXPECT_EQ(tensor.scalar_type(), of_host.scalar_type());
      EXPECT_EQ(static_cast<std::byte*>(tensor.data_ptr()) - gpu.data().data(),
                static_cast<std::byte*>(of_host.data_ptr()) - host.data().data());
    }
    const at::Tensor flat = gpu.flat(0, 64);
    EXPECT_EQ(flat.data_ptr(), gpu.data().data());
    EXPECT_EQ(flat.numel(), 16);
    EXPECT_THROW((void)gpu.tensor("no such"), UsageError);
  });
}

TEST_F(GpuArena, IsCopiedToAndFromTheHost) {
  alone([] {
    const Arena host = make_host_arena();
    const Arena gpu = host.on(host.device_memory(0));
    copy(host, gpu);
    std::memset(host.data().data(), 0, host.data().size());
    copy(gpu, host);
    EXPECT_EQ(host.tensor("0.weight").data_ptr<float>()[7], 1.5F);
    EXPECT_EQ(host.tensor("steps").data_ptr<std::int64_t>()[0], 42);
    const Arena second = make_host_arena();
    second.tensor("steps").data_ptr<std::int64_t>()[0] = 43;
    copy(second, host);
    EXPECT_EQ(host.tensor("steps").data_ptr<std::int64_t>()[0], 43);
    EXPECT_THROW(copy(gpu, gpu), UsageError);
  });
}

TEST_F(GpuArena, ItsTensorsKeepTheMemory) {
  alone([] {
    std::optional<at::Tensor> steps;
    {
      const Arena host = make_host_arena();
      const Arena gpu = host.on(host.device_memory(0));
      copy(host, gpu);
      steps = gpu.tensor("steps");
    }
    std::int64_t value = 0;
    cuda_driver().call("cuMemcpyDtoH_v2", static_cast<void*>(&value), cuda::address_of(steps->data_ptr()),
                       sizeof(value));
    EXPECT_EQ(value, 42);
    const Footprint before = Footprint::now();
    steps.reset();
    EXPECT_LT(Footprint::now().shared_mappings, before.shared_mappings);
  });
}

TEST_F(GpuArena, WithAnotherLayoutOrSizeIsRefused) {
  alone([] {
    const Arena host = make_host_arena();
    const std::size_t size = host.data().size();
    EXPECT_THROW((void)host.on(DeviceMemory::create(0, size)), UsageError);
    EXPECT_THROW((void)host.on(DeviceMemory::create(0, size + 64, {.layout_hash = host.layout_hash()})), UsageError);
    const std::vector<TensorSpec> specs = {{"other", c10::ScalarType::Float, {40}}};
    const Arena other = Arena::create("other", specs);
    EXPECT_THROW(copy(other, host.on(host.device_memory(0))), UsageError);
  });
}

TEST_F(GpuArena, IsSharedWithAnotherProcessThatHasTheHostsArena) {
  const Arena host = make_host_arena();
  auto [one, other] = socket_pair();
  const pid_t user = start_child([&] {
    DeviceShare share;
    EXPECT_EQ(::read(other.get(), &share.handle, sizeof(share.handle)), static_cast<ssize_t>(sizeof(share.handle)));
    share.fd = receive_fd(other.get(), Deadline::after(std::chrono::seconds(30)));
    const Arena gpu = host.on(DeviceMemory::attach(share, host.data().size(), host.layout_hash()));
    copy(gpu, host);
    return host.tensor("steps").data_ptr<std::int64_t>()[0] == 42 ? 0 : 1;
  });
  const pid_t maker = start_child([&] {
    const DeviceMemory memory = host.device_memory(0);
    copy(host, host.on(memory));
    host.tensor("steps").data_ptr<std::int64_t>()[0] = 0;  // the user's copy must come from the GPU
    const DeviceShare share = memory.share();
    EXPECT_EQ(::write(one.get(), &share.handle, sizeof(share.handle)), static_cast<ssize_t>(sizeof(share.handle)));
    send_fd(one.get(), share.fd.get());
    return HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(exit_code_of(maker), 0);
  EXPECT_EQ(exit_code_of(user), 0);
}

}  // namespace
}  // namespace hogpen
