// CUDA tensors through queues, on the fake driver, where an address of the GPU is one of the host that a test can look
// at. LibTorch's CUDA libraries are not loaded: nothing here runs an operation on a tensor.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include "runtime/channel/queue.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/memory/arena.h"
#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/tensor_handle.h"
#include "tests/footprint.h"
#include "tests/forked.h"
#include "tests/notes_on_board.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

const c10::Device kGpu(c10::DeviceType::CUDA, 0);

float read(const at::Tensor& tensor, std::int64_t index) {
  float value = 0;
  cuda_driver().call("cuMemcpyDtoH_v2", static_cast<void*>(&value),
                     cuda::address_of(static_cast<const float*>(tensor.const_data_ptr()) + index), sizeof(value));
  return value;
}

void write(const at::Tensor& tensor, std::int64_t index, float value) {
  cuda_driver().call("cuMemcpyHtoD_v2", cuda::address_of(static_cast<float*>(tensor.mutable_data_ptr()) + index),
                     static_cast<const void*>(&value), sizeof(value));
}

/// A tensor as LibTorch's allocator makes them: in memory that no other process can reach.
at::Tensor make_private(cuda::Address address, std::int64_t numel) {
  c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<std::size_t>(numel) * sizeof(float),
                       at::DataPtr(reinterpret_cast<void*>(address), kGpu));
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA), caffe2::TypeMeta::Make<float>());
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous({numel});
  return tensor;
}

class GpuTensor : public LeavesNothing<> {
 protected:
  using Tensors = Queue<at::Tensor>;
  using Body = std::function<void()>;

  void TearDown() override {
    // Whatever happened, no descriptor of GPU memory is left on the board.
    EXPECT_EQ(exit_code_of_child([] {
                (void)empty_shared({1}, c10::ScalarType::Float, kGpu);  // looks for what the dead had
                return notes_on_board();
              }),
              0);
    LeavesNothing::TearDown();
  }

  static pid_t start(const Body& body) {
    return start_child([&] {
      body();
      return HasFailure() ? 1 : 0;
    });
  }

  static at::Tensor get(Tensors& queue) { return queue.get(Deadline::after(30s)).value(); }
};

TEST_F(GpuTensor, IsTheSendersMemoryInTheReceiver) {
  Tensors there;
  Tensors back;
  const pid_t sender = start([&] {
    const at::Tensor tensor = empty_shared({8}, c10::ScalarType::Float, kGpu);
    write(tensor, 3, 1.5F);
    there.put(tensor);
    const at::Tensor again = get(back);
    EXPECT_EQ(again.data_ptr(), tensor.data_ptr());
    EXPECT_EQ(again.storage().unsafeGetStorageImpl(), tensor.storage().unsafeGetStorageImpl());
    EXPECT_EQ(read(tensor, 3), 2.5F);
  });
  const pid_t receiver = start([&] {
    const at::Tensor tensor = get(there);
    EXPECT_EQ(tensor.device(), kGpu);
    EXPECT_EQ(tensor.sizes(), c10::IntArrayRef({8}));
    EXPECT_EQ(read(tensor, 3), 1.5F);
    write(tensor, 3, 2.5F);
    back.put(tensor);
  });
  EXPECT_EQ(exit_code_of(sender), 0);
  EXPECT_EQ(exit_code_of(receiver), 0);
}

TEST_F(GpuTensor, StaysWhenItsSenderHasEnded) {
  for (const bool is_killed : {false, true}) {
    Tensors queue;
    const pid_t sender = start([&] {
      const at::Tensor tensor = empty_shared({8}, c10::ScalarType::Float, kGpu);
      write(tensor, 0, 7);
      queue.put(tensor);
      if (is_killed) ::raise(SIGKILL);
    });
    EXPECT_EQ(exit_code_of(sender), is_killed ? 128 + SIGKILL : 0);
    EXPECT_EQ(exit_code_of(start([&] { EXPECT_EQ(read(get(queue), 0), 7); })), 0);
  }
}

TEST_F(GpuTensor, IsFreedWhenAReceiverThatHadItLastIsKilled) {
  Tensors queue;
  EXPECT_EQ(exit_code_of(start([&] { queue.put(empty_shared({8}, c10::ScalarType::Float, kGpu)); })), 0);
  EXPECT_EQ(exit_code_of(start([&] {
              const at::Tensor tensor = get(queue);
              ::raise(SIGKILL);
            })),
            128 + SIGKILL);
}

TEST_F(GpuTensor, OfPrivateMemoryIsMovedOnceAndForAllItsViews) {
  Tensors queue;
  const pid_t sender = start([&] {
    use_gpu(0);
    cuda::Address address = 0;
    cuda_driver().call("cuMemAlloc_v2", &address, std::size_t{4096});
    const at::Tensor tensor = make_private(address, 16);
    write(tensor, 5, 3);
    EXPECT_FALSE(is_shared(tensor));
    share_memory(tensor);
    EXPECT_TRUE(is_shared(tensor));
    EXPECT_NE(tensor.data_ptr(), reinterpret_cast<void*>(address));
    EXPECT_EQ(read(tensor, 5), 3);
    const void* const shared = tensor.data_ptr();
    queue.put(tensor);
    queue.put(tensor);
    EXPECT_EQ(tensor.data_ptr(), shared);
    cuda_driver().call("cuMemFree_v2", address);
  });
  EXPECT_EQ(exit_code_of(sender), 0);
  EXPECT_EQ(exit_code_of(start([&] {
              const at::Tensor first = get(queue);
              const at::Tensor second = get(queue);
              EXPECT_EQ(first.storage().unsafeGetStorageImpl(), second.storage().unsafeGetStorageImpl());
              EXPECT_EQ(read(first, 5), 3);
            })),
            0);
}

TEST_F(GpuTensor, TensorsOfOneArenaAreOneMapping) {
  Tensors queue;
  const Arena host = Arena::create(
      "host", std::vector<TensorSpec>{{"a", c10::ScalarType::Float, {2, 3}}, {"b", c10::ScalarType::Float, {5}}});
  const pid_t sender = start([&] {
    const Arena gpu = host.on(host.device_memory(0));
    write(gpu.tensor("b"), 4, 9);
    for (const char* name : {"a", "b"}) queue.put(gpu.tensor(name));
  });
  EXPECT_EQ(exit_code_of(sender), 0);
  EXPECT_EQ(exit_code_of(start([&] {
              const at::Tensor a = get(queue);
              const int descriptors = Footprint::now().descriptors;
              const int mappings = Footprint::now().shared_mappings;
              const at::Tensor b = get(queue);
              EXPECT_EQ(Footprint::now().descriptors, descriptors);
              EXPECT_EQ(Footprint::now().shared_mappings, mappings);
              EXPECT_EQ(a.storage().unsafeGetStorageImpl(), b.storage().unsafeGetStorageImpl());
              EXPECT_EQ(a.sizes(), c10::IntArrayRef({2, 3}));
              EXPECT_EQ(read(b, 4), 9);
            })),
            0);
}

TEST_F(GpuTensor, MayBeSentOnByWhoReceivedIt) {
  Tensors first;
  Tensors second;
  EXPECT_EQ(exit_code_of(start([&] {
              const at::Tensor tensor = empty_shared({4}, c10::ScalarType::Float, kGpu);
              write(tensor, 1, 6);
              first.put(tensor);
            })),
            0);
  EXPECT_EQ(exit_code_of(start([&] { second.put(get(first)); })), 0);
  EXPECT_EQ(exit_code_of(start([&] { EXPECT_EQ(read(get(second), 1), 6); })), 0);
}

TEST_F(GpuTensor, ByHundredsLeaveNoDescriptorsBehind) {
  Tensors there;
  Tensors back;
  constexpr int kRounds = 1'000;  // more than the board has room for
  const pid_t sender = start([&] {
    for (int i = 0; i < kRounds; ++i) {
      const at::Tensor tensor = empty_shared({4}, c10::ScalarType::Float, kGpu);
      write(tensor, 0, static_cast<float>(i));
      there.put(tensor);
      (void)get(back);
    }
    EXPECT_LE(notes_on_board(), 1);
  });
  const pid_t receiver = start([&] {
    for (int i = 0; i < kRounds; ++i) {
      const at::Tensor tensor = get(there);
      EXPECT_EQ(read(tensor, 0), static_cast<float>(i));
      back.put(tensor);
    }
  });
  EXPECT_EQ(exit_code_of(sender), 0);
  EXPECT_EQ(exit_code_of(receiver), 0);
}

TEST_F(GpuTensor, MoreAtATimeThanTheBoardHoldsAreRefusedUntilSomeAreGone) {
  EXPECT_EQ(exit_code_of(start([] {
              ::setenv("FAKE_BYTES", std::to_string(std::size_t{8} << 30).c_str(), 1);
              std::vector<at::Tensor> tensors;
              try {
                while (tensors.size() < 2'000) tensors.push_back(empty_shared({4}, c10::ScalarType::Float, kGpu));
                ADD_FAILURE() << "the board has no end";
              } catch (const Error& error) {
                EXPECT_STREQ(error.what(), "too many pieces of GPU memory are shared with other processes at a time");
                EXPECT_NE(error.hint().find("one Arena"), std::string::npos) << error.hint();
              }
              EXPECT_GT(tensors.size(), 200);  // as the README says
              tensors.pop_back();
              tensors.push_back(empty_shared({4}, c10::ScalarType::Float, kGpu));
            })),
            0);
}

TEST_F(GpuTensor, WithoutElementsNeedsNoMemory) {
  Tensors queue;
  const c10::Device second(c10::DeviceType::CUDA, 1);
  EXPECT_EQ(exit_code_of(start([&] {
              queue.put(empty_shared({0, 3}, c10::ScalarType::Float, kGpu));
              queue.put(empty_shared({4, 0}, c10::ScalarType::Float, second));
              queue.put(empty_shared({0}, c10::ScalarType::Float));
            })),
            0);
  EXPECT_EQ(exit_code_of(start([&] {
              ::setenv("FAKE_GPUS", "0", 1);  // to read it opens no GPU
              const at::Tensor tensor = get(queue);
              EXPECT_EQ(tensor.sizes(), c10::IntArrayRef({0, 3}));
              EXPECT_EQ(tensor.device(), kGpu);
              EXPECT_TRUE(tensor.is_cuda());
              EXPECT_TRUE(is_shared(tensor));
              EXPECT_EQ(get(queue).device(), second);
              EXPECT_TRUE(get(queue).is_cpu());
            })),
            0);
}

TEST_F(GpuTensor, WhereTheDriverGivesNoDescriptorsIsSharedAsLongAsItsMakerHasIt) {
  Tensors there;
  Tensors back;
  const pid_t sender = start([&] {
    ::setenv("FAKE_NO_DESCRIPTORS", "1", 1);
    const at::Tensor tensor = empty_shared({8}, c10::ScalarType::Float, kGpu);
    write(tensor, 3, 1.5F);
    there.put(tensor);
    (void)get(back);
  });
  EXPECT_EQ(exit_code_of(start([&] {
              ::setenv("FAKE_NO_DESCRIPTORS", "1", 1);
              const at::Tensor tensor = get(there);
              EXPECT_EQ(read(tensor, 3), 1.5F);
              back.put(tensor);
            })),
            0);
  EXPECT_EQ(exit_code_of(sender), 0);
}

TEST_F(GpuTensor, OfADeviceThatCannotBeSharedIsRefused) {
  EXPECT_THROW((void)empty_shared({4}, c10::ScalarType::Float, c10::Device(c10::DeviceType::Meta)), UsageError);
}

}  // namespace
}  // namespace hogpen
