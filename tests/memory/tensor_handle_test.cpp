#include "runtime/memory/tensor_handle.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/quantize_per_tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/memory/arena.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

struct Message {
  std::vector<std::byte> bytes;
  std::vector<BlockId> blocks;
};

Message write(const at::Tensor& tensor) {
  Message message;
  write_tensor(tensor, message.bytes, message.blocks);
  return message;
}

at::Tensor read(const Message& message) {
  std::span<const std::byte> bytes = message.bytes;
  at::Tensor tensor = read_tensor(bytes);
  EXPECT_TRUE(bytes.empty());
  return tensor;
}

// What a child writes; it retains the blocks as a queue would.
class Mailbox {
 public:
  Mailbox() { syscall_ok(::pipe(ends_.data()), "pipe"); }
  ~Mailbox() {
    for (const int end : ends_) ::close(end);
  }
  void send(const at::Tensor& tensor) {
    const Message message = write(tensor);
    for (const BlockId id : message.blocks) retain(id);
    const std::size_t size = message.bytes.size();
    (void)!::write(ends_[1], &size, sizeof(size));
    (void)!::write(ends_[1], message.bytes.data(), size);
  }
  at::Tensor receive() {
    Message message;
    std::size_t size = 0;
    syscall_ok(::read(ends_[0], &size, sizeof(size)), "read");
    message.bytes.resize(size);
    syscall_ok(::read(ends_[0], message.bytes.data(), size), "read");
    at::Tensor tensor = read(message);
    if (tensor.numel() > 0 && is_in_shared_heap(tensor.data_ptr())) release(block_at(tensor.data_ptr()));
    return tensor;
  }

 private:
  std::array<int, 2> ends_{};
};

bool is_same_view(const at::Tensor& a, const at::Tensor& b) {
  return a.data_ptr() == b.data_ptr() && a.sizes() == b.sizes() && a.strides() == b.strides() && a.dtype() == b.dtype();
}

class TensorHandle : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    at::set_num_threads(1);
    open_shared_heap();
  }
};

using ShareMemory = TensorHandle;

TEST_F(ShareMemory, MovesAllViewsOfAStorageOnce) {
  const at::Tensor whole = at::arange(12);
  const at::Tensor view = whole.slice(0, 3, 9, 2);
  const void* before = whole.data_ptr();
  EXPECT_FALSE(is_shared(view));
  share_memory(view);
  EXPECT_TRUE(is_shared(whole));
  EXPECT_NE(whole.data_ptr(), before);
  EXPECT_TRUE(is_in_shared_heap(whole.data_ptr()));
  EXPECT_EQ(view.data_ptr(), static_cast<std::int64_t*>(whole.data_ptr()) + 3);
  EXPECT_TRUE(at::equal(whole, at::arange(12)));
  const void* after = whole.data_ptr();
  share_memory(whole);
  EXPECT_EQ(whole.data_ptr(), after);
}

TEST_F(ShareMemory, MakesAStorageThatKeepsItsSize) {
  at::Tensor tensor = at::zeros({4});
  share_memory(tensor);
  EXPECT_FALSE(tensor.storage().resizable());
  EXPECT_ANY_THROW(tensor.resize_({1000}));
}

TEST_F(ShareMemory, FreesTheBlockWithTheLastTensor) {
  const std::size_t before = shared_heap_use().blocks;
  {
    at::Tensor tensor = at::zeros({100});
    share_memory(tensor);
    const at::Tensor view = tensor.slice(0, 50, 60);
    tensor = at::Tensor();
    EXPECT_EQ(shared_heap_use().blocks, before + 1);
  }
  EXPECT_EQ(shared_heap_use().blocks, before);
}

TEST_F(ShareMemory, LeavesATensorOfAnArenaWhereItIs) {
  const Arena arena = Arena::create("arena", std::vector<TensorSpec>{{.name = "w", .shape = {3}}});
  const at::Tensor tensor = arena.tensor("w");
  const void* before = tensor.data_ptr();
  EXPECT_TRUE(is_shared(tensor));
  share_memory(tensor);
  EXPECT_EQ(tensor.data_ptr(), before);
}

TEST_F(ShareMemory, OfAnEmptyTensorNeedsNoMemory) {
  const std::size_t before = shared_heap_use().blocks;
  const at::Tensor tensor = at::empty({0, 3});
  share_memory(tensor);
  EXPECT_TRUE(is_shared(tensor));
  EXPECT_EQ(shared_heap_use().blocks, before);
}

void expect_refused(const at::Tensor& tensor, const std::string& reason) {
  try {
    share_memory(tensor);
    FAIL() << "expected a UsageError about " << reason;
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
  }
}

TEST_F(ShareMemory, RefusesWhatItCannotShareAndSaysWhy) {
  expect_refused(at::Tensor(), "defined");
  expect_refused(at::zeros({2, 2}).to_sparse(), "dense");
  expect_refused(at::zeros({2}, at::TensorOptions(at::kMeta)), "CPU");
  expect_refused(at::quantize_per_tensor(at::zeros({2}), 1.0, 0, at::kQInt8), "quantized");
  expect_refused(at::zeros({2}).set_requires_grad(true).mul(2), "leaf");
}

TEST_F(TensorHandle, OfAnyViewIsTheSameMemory) {
  const at::Tensor base = at::arange(24).view({4, 6});
  const std::vector<at::Tensor> views = {base,
                                         base.t(),
                                         base.slice(0, 1, 3),
                                         base.slice(1, 0, 6, 2),
                                         base.select(0, 2),
                                         base.select(0, 3).select(0, 5),
                                         base.slice(0, 1, 1),
                                         base.unsqueeze(0).expand({3, 4, 6})};
  for (const at::Tensor& view : views) {
    const at::Tensor same = read(write(view));
    EXPECT_TRUE(is_same_view(same, view)) << view.sizes();
    EXPECT_EQ(same.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl(), base.storage().unsafeGetStorageImpl());
    EXPECT_TRUE(at::equal(same, view));
  }
}

TEST_F(TensorHandle, OfAnEmptyTensorKeepsItsShape) {
  const Message message = write(at::empty({0, 3, 2}, at::kInt));
  EXPECT_TRUE(message.blocks.empty());
  const at::Tensor tensor = read(message);
  EXPECT_EQ(tensor.sizes(), (std::vector<std::int64_t>{0, 3, 2}));
  EXPECT_EQ(tensor.scalar_type(), at::kInt);
}

TEST_F(TensorHandle, OfEveryTypeIsTheSameMemory) {
  using enum c10::ScalarType;
  for (const c10::ScalarType dtype : {Byte,
                                      Char,
                                      Short,
                                      Int,
                                      Long,
                                      Half,
                                      Float,
                                      Double,
                                      ComplexHalf,
                                      ComplexFloat,
                                      ComplexDouble,
                                      Bool,
                                      BFloat16,
                                      Float8_e5m2,
                                      Float8_e4m3fn,
                                      Float8_e5m2fnuz,
                                      Float8_e4m3fnuz,
                                      UInt16,
                                      UInt32,
                                      UInt64}) {
    const at::Tensor tensor = at::empty({2, 3}, dtype);
    const at::Tensor same = read(write(tensor));
    EXPECT_TRUE(is_same_view(same, tensor)) << dtype;
  }
}

TEST_F(TensorHandle, KeepsConjugationAndNegation) {
  const at::Tensor tensor = at::full({3}, c10::complex<float>(1, 2)).conj();
  ASSERT_TRUE(tensor.is_conj());
  const at::Tensor same = read(write(tensor));
  EXPECT_TRUE(same.is_conj());
  EXPECT_TRUE(at::equal(same.resolve_conj(), at::full({3}, c10::complex<float>(1, -2))));
  const at::Tensor negated = read(write(at::imag(tensor)));
  EXPECT_TRUE(negated.is_neg());
  EXPECT_TRUE(at::equal(negated.resolve_neg(), at::full({3}, -2.0F)));
}

TEST_F(TensorHandle, KeepsWhetherALeafRequiresAGradient) {
  EXPECT_TRUE(read(write(at::zeros({2}).set_requires_grad(true))).requires_grad());
  EXPECT_FALSE(read(write(at::zeros({2}))).requires_grad());
  EXPECT_THROW((void)write(at::zeros({2}).set_requires_grad(true).mul(2)), UsageError);
}

TEST_F(TensorHandle, ReadInAChildIsItsParentsMemory) {
  const at::Tensor tensor = at::arange(10);
  const Message message = write(tensor.slice(0, 5));
  EXPECT_EQ(exit_code_of_child([&] {
              const at::Tensor same = read(message);
              same.fill_(7);
              return 0;
            }),
            0);
  EXPECT_TRUE(at::equal(tensor.slice(0, 5), at::full({5}, 7, at::kLong)));
  EXPECT_TRUE(at::equal(tensor.slice(0, 0, 5), at::arange(5)));
}

TEST_F(TensorHandle, OfAChildThatHasEndedIsStillThere) {
  release_shares_of_the_dead();
  const std::size_t before = shared_heap_use().blocks;
  Mailbox mailbox;
  EXPECT_EQ(exit_code_of_child([&] {
              const at::Tensor tensor = at::arange(1'000).view({10, 100}).t();
              mailbox.send(tensor);
              mailbox.send(tensor.select(0, 3));
              return 0;
            }),
            0);
  release_shares_of_the_dead();
  {
    const at::Tensor tensor = mailbox.receive();
    const at::Tensor row = mailbox.receive();
    EXPECT_TRUE(at::equal(tensor, at::arange(1'000).view({10, 100}).t()));
    EXPECT_TRUE(is_same_view(row, tensor.select(0, 3)));
    EXPECT_EQ(row.storage().unsafeGetStorageImpl(), tensor.storage().unsafeGetStorageImpl());
    EXPECT_EQ(shared_heap_use().blocks, before + 1);
  }
  EXPECT_EQ(shared_heap_use().blocks, before);
}

TEST_F(TensorHandle, ThatAChildInheritedOutlivesItsParents) {
  at::Tensor tensor = at::arange(100);
  share_memory(tensor);
  Mailbox go;
  const pid_t child = ::fork();
  if (child == 0) {
    (void)go.receive();
    ::_exit(at::equal(tensor, at::arange(100)) ? 0 : 1);
  }
  tensor = at::Tensor();
  const at::Tensor other = at::zeros({100}, at::kLong);
  share_memory(other);
  go.send(at::zeros({1}));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(TensorHandle, ByThousandsCostNoDescriptorAndNoMapping) {
  const auto descriptors = [] {
    namespace fs = std::filesystem;
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto shared_mappings = [] {
    const std::string maps = read_file("/proc/self/maps");
    std::ptrdiff_t count = 0;
    for (auto at = maps.find("memfd:"); at != std::string::npos; at = maps.find("memfd:", at + 1)) ++count;
    return count;
  };
  share_memory(at::zeros({1}));
  const auto descriptors_before = descriptors();
  const auto mappings_before = shared_mappings();
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < 5'000; ++i) {
    tensors.push_back(at::full({16}, i));
    tensors.push_back(read(write(tensors.back())));
  }
  EXPECT_EQ(descriptors(), descriptors_before);
  EXPECT_EQ(shared_mappings(), mappings_before);
  for (int i = 0; i < 5'000; ++i) ASSERT_EQ(tensors[2 * i + 1].data_ptr<std::int64_t>()[15], i);
}

TEST_F(TensorHandle, OfAnArenaIsItsMemory) {
  const Arena arena = Arena::create("arena", std::vector<TensorSpec>{{.name = "w", .shape = {2, 3}}});
  const Message message = write(arena.tensor("w").t());
  EXPECT_TRUE(message.blocks.empty());
  const at::Tensor first = read(message);
  const at::Tensor second = read(message);
  EXPECT_TRUE(is_same_view(first, arena.tensor("w").t()));
  EXPECT_EQ(first.storage().unsafeGetStorageImpl(), second.storage().unsafeGetStorageImpl());
}

TEST_F(TensorHandle, OfAnArenaMadeAfterTheForkIsFoundByAllAlsoWhenItsMakerHasEnded) {
  Mailbox mailbox;
  EXPECT_EQ(exit_code_of_child([&] {
              const std::vector<TensorSpec> specs = {{.name = "a", .shape = {4}}, {.name = "b", .shape = {1'000}}};
              const Arena arena = Arena::create("a child's", specs);
              arena.tensor("a").fill_(1);
              arena.tensor("b").fill_(2);
              for (int i = 0; i < 3; ++i) mailbox.send(arena.tensor("b"));
              mailbox.send(arena.tensor("a"));
              return 0;
            }),
            0);
  for (int i = 0; i < 2; ++i) {  // siblings, one after the other
    EXPECT_EQ(exit_code_of_child([&] {
                const at::Tensor tensor = mailbox.receive();
                const bool ok = at::equal(tensor, at::full({1'000}, 2.0F + static_cast<float>(i)));
                tensor.add_(1);
                return ok ? 0 : 1;
              }),
              0);
  }
  const at::Tensor b = mailbox.receive();
  const at::Tensor a = mailbox.receive();
  EXPECT_TRUE(at::equal(b, at::full({1'000}, 4.0F)));
  EXPECT_TRUE(at::equal(a, at::full({4}, 1.0F)));
  EXPECT_EQ(b.storage().unsafeGetStorageImpl(), a.storage().unsafeGetStorageImpl());
}

TEST_F(TensorHandle, OfAnArenaThatNobodyPostedIsAnError) {
  Message message;
  {
    const Arena arena = Arena::create("never sent", std::vector<TensorSpec>{{.name = "w", .shape = {1'000}}});
    message = write(arena.tensor("w"));
  }
  message.bytes[16] ^= std::byte{0x55};  // of the inode
  EXPECT_THROW((void)read(message), Error);
}

TEST_F(TensorHandle, OfAnotherFamilysHeapIsAnError) {
  const at::Tensor tensor = at::zeros({2});
  Message message = write(tensor);
  message.bytes[16] ^= std::byte{0x55};  // of the heap's number
  EXPECT_THROW((void)read(message), Error);
}

TEST_F(TensorHandle, OnABlocksMemoryNamesTheBlock) {
  const SharedBlock block = SharedBlock::allocate(800);
  const at::Tensor tensor = at::from_blob(block.data() + 80, {90}, at::kLong);
  EXPECT_TRUE(is_shared(tensor));
  const Message message = write(tensor);
  EXPECT_EQ(message.blocks, std::vector{block.id()});
  EXPECT_TRUE(is_same_view(read(message), tensor));
}

TEST_F(TensorHandle, CutShortAnywhereIsAnError) {
  const at::Tensor tensor = at::zeros({2, 3});
  const Message message = write(tensor);
  for (std::size_t size = 0; size < message.bytes.size(); ++size) {
    std::span<const std::byte> bytes(message.bytes.data(), size);
    EXPECT_THROW((void)read_tensor(bytes), Error) << size << " bytes";
  }
}

TEST_F(TensorHandle, ThatReachesBeyondItsStorageIsAnError) {
  const at::Tensor tensor = at::zeros({2, 3});
  Message message = write(tensor);
  std::int64_t rows = 3;
  std::memcpy(message.bytes.data() + 64, &rows, sizeof(rows));
  EXPECT_THROW((void)read(message), Error);
  rows = std::int64_t{1} << 62;
  std::memcpy(message.bytes.data() + 64, &rows, sizeof(rows));
  EXPECT_THROW((void)read(message), Error);
}

TEST_F(TensorHandle, OfHundredsOfArenasIsAnErrorThatSaysWhatToDo) {
  // In a family of its own, whose board may get full.
  EXPECT_EQ(exit_code_of_child([] {
              ::execl("/proc/self/exe", "tensor_handle_test", "--gtest_filter=FullBoard.*",
                      "--gtest_also_run_disabled_tests", nullptr);
              return 1;
            }),
            0);
}

TEST(FullBoard, DISABLED_IsAnErrorAndLosesNothing) {
  open_shared_heap();
  Message first;
  std::size_t sent = 0;
  try {
    for (; sent < 2'000; ++sent) {
      const Arena arena = Arena::create("one of many", std::vector<TensorSpec>{{.name = "w", .shape = {1}}});
      const Message message = write(arena.tensor("w"));
      if (sent == 0) {
        arena.tensor("w").fill_(5);
        first = message;
      }
    }
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.hint()).find("Arena"), std::string::npos) << error.what();
  }
  EXPECT_GE(sent, 200);
  EXPECT_EQ(read(first).item<float>(), 5.0F);
  EXPECT_NO_THROW((void)read(write(at::zeros({10}))));
}

TEST(EmptyShared, IsAContiguousTensorInSharedMemory) {
  const at::Tensor tensor = empty_shared({3, 5}, at::kDouble);
  EXPECT_EQ(tensor.sizes(), (std::vector<std::int64_t>{3, 5}));
  EXPECT_TRUE(tensor.is_contiguous() && is_shared(tensor));
  tensor.fill_(2);
  EXPECT_TRUE(at::equal(read(write(tensor)), at::full({3, 5}, 2.0, at::kDouble)));
  EXPECT_EQ(empty_shared({0, 4}, at::kFloat).numel(), 0);
}

TEST(EmptyShared, RefusesSizesThatNoMemoryHas) {
  EXPECT_THROW((void)empty_shared({-1}, at::kFloat), UsageError);
  EXPECT_THROW((void)empty_shared({std::int64_t{1} << 62}, at::kFloat), UsageError);
  EXPECT_THROW((void)empty_shared({std::int64_t{1} << 32, std::int64_t{1} << 32}, at::kFloat), UsageError);
}

}  // namespace
}  // namespace hogpen
