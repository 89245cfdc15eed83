#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/channel/queue.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/core/error.h"
#include "runtime/memory/shared_heap.h"
#include "runtime/process/process.h"
#include "tests/footprint.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

std::size_t blocks_in_use() {
  release_shares_of_the_dead();
  return shared_heap_use().blocks;
}

// Blocks of the heap, too.
class TensorQueue : public LeavesNothing<> {
 protected:
  void SetUp() override {
    LeavesNothing::SetUp();
    blocks_before_ = blocks_in_use();
  }
  void TearDown() override {
    LeavesNothing::TearDown();
    EXPECT_EQ(blocks_in_use(), blocks_before_);
  }

 private:
  std::size_t blocks_before_ = 0;
};

// Runs in a child: LibTorch's operations there are single-threaded, and so few that no parallel region opens.
void in_a_child(const std::function<void()>& body) {
  EXPECT_TRUE(Process::start(body).join(soon()));
}

TEST_F(TensorQueue, AReceivedTensorIsTheSendersMemory) {
  Queue<at::Tensor> queue;
  const at::Tensor sent = at::arange(6).reshape({2, 3});
  queue.put(sent);
  in_a_child([&] {
    const at::Tensor got = queue.get(soon()).value();
    require(got.sizes() == at::IntArrayRef({2, 3}), "the shape must be kept");
    got.data_ptr<std::int64_t>()[4] = 42;
  });
  EXPECT_EQ(sent.data_ptr<std::int64_t>()[4], 42);
}

TEST_F(TensorQueue, SlicesTransposedOnesAndOtherDtypesKeepTheirShapeAndStorage) {
  Queue<std::vector<at::Tensor>> queue;
  const at::Tensor base = at::arange(12, at::kFloat).reshape({3, 4});
  queue.put({base, base.t(), base.slice(0, 1, 2), at::full({2}, 1.5, at::kHalf), at::empty({0}, at::kByte)});
  const std::vector<at::Tensor> got = queue.get(soon()).value();
  ASSERT_EQ(got.size(), 5);
  EXPECT_TRUE(at::equal(got[0], base));
  EXPECT_TRUE(at::equal(got[1], base.t()));
  EXPECT_EQ(got[1].strides(), base.t().strides());
  EXPECT_TRUE(at::equal(got[2], base.slice(0, 1, 2)));
  EXPECT_TRUE(at::equal(got[3], at::full({2}, 1.5, at::kHalf)));
  EXPECT_EQ(got[4].numel(), 0);
  EXPECT_TRUE(got[0].is_alias_of(got[1]));
  EXPECT_TRUE(got[0].is_alias_of(got[2]));
}

TEST_F(TensorQueue, TheDataStaysWhenTheProducerHasEnded) {
  Queue<std::pair<int, at::Tensor>> queue;
  in_a_child([&] {
    for (int i = 0; i < 100; ++i) queue.put({i, at::full({1000}, i)});
  });
  for (int i = 0; i < 100; ++i) {
    const auto [number, tensor] = queue.get(soon()).value();
    EXPECT_EQ(number, i);
    ASSERT_TRUE(at::equal(tensor, at::full({1000}, i)));
  }
}

TEST_F(TensorQueue, TheDataStaysWhenTheProducerIsKilled) {
  Queue<at::Tensor> queue;
  Process producer = Process::start([&] {
    queue.put(at::full({1000}, 7));
    ::raise(SIGKILL);
  });
  (void)producer.wait(soon());
  (void)blocks_in_use();  // gives back what the dead held
  EXPECT_TRUE(at::equal(queue.get(soon()).value(), at::full({1000}, 7)));
}

TEST_F(TensorQueue, CarriesTensorsInsideOtherTypes) {
  using Sample = std::tuple<std::string, std::optional<at::Tensor>, std::vector<at::Tensor>>;
  Queue<Sample> queue;
  queue.put({"a", at::full({2}, 1), {at::full({3}, 2)}});
  queue.put({"b", std::nullopt, {}});
  const Sample got = queue.get(soon()).value();
  EXPECT_EQ(std::get<0>(got), "a");
  EXPECT_TRUE(at::equal(*std::get<1>(got), at::full({2}, 1)));
  EXPECT_TRUE(at::equal(std::get<2>(got).at(0), at::full({3}, 2)));
  EXPECT_EQ(std::get<1>(queue.get(soon()).value()), std::nullopt);
}

TEST_F(TensorQueue, CarriesIValues) {
  Queue<c10::IValue> queue;
  c10::Dict<std::string, at::Tensor> state;
  const at::Tensor weight = at::arange(4);
  state.insert("weight", weight);
  queue.put(c10::ivalue::Tuple::create({1, 2.5, "text", state, c10::List<std::int64_t>({1, 2})}));
  queue.put(c10::IValue());
  const c10::IValue value = queue.get(soon()).value();
  const std::vector<c10::IValue> got =
      value.toTupleRef().elements().vec();  // GCC 12 misjudges the bounds of elements()
  EXPECT_EQ(got[0].toInt(), 1);
  EXPECT_EQ(got[1].toDouble(), 2.5);
  EXPECT_EQ(got[2].toStringRef(), "text");
  EXPECT_EQ(got[4].toIntVector(), (std::vector<std::int64_t>{1, 2}));
  const at::Tensor received = got[3].toGenericDict().at("weight").toTensor();
  weight.data_ptr<std::int64_t>()[0] = 9;
  EXPECT_TRUE(at::equal(received, weight));
  EXPECT_TRUE(queue.get(soon()).value().isNone());
}

TEST_F(TensorQueue, AnIValueThatCannotBeSentIsAnErrorAndLeavesTheQueueAsItWas) {
  Queue<c10::IValue> queue;
  EXPECT_THROW(queue.put(c10::IValue(at::Stream(at::Stream::DEFAULT, at::kCPU))), Error);
  EXPECT_TRUE(queue.empty());
}

// torch.multiprocessing takes a descriptor a tensor and ends with "too many open files".
TEST_F(TensorQueue, ComplaintTooManyOpenFiles) {
  constexpr int kTensors = 5000;
  Queue<std::vector<at::Tensor>> queue;
  const Footprint before = Footprint::now();
  in_a_child([&] {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < kTensors; ++i) tensors.push_back(at::full({4}, i));
    queue.put(tensors);
  });
  const std::vector<at::Tensor> got = queue.get(soon()).value();
  ASSERT_EQ(got.size(), kTensors);
  for (int i = 0; i < kTensors; ++i) ASSERT_EQ(got[static_cast<std::size_t>(i)].data_ptr<std::int64_t>()[3], i);
  EXPECT_EQ(Footprint::now(), before);
}

}  // namespace
}  // namespace hogpen
