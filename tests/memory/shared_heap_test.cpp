#include "runtime/memory/shared_heap.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"
#include "runtime/core/file.h"
#include "runtime/memory/segment.h"
#include "runtime/memory/size_class.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

void kill_and_reap(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// A number from one process to another, in order.
class Line {
 public:
  Line() { syscall_ok(::pipe(ends_.data()), "pipe"); }
  ~Line() {
    for (const int end : ends_) ::close(end);
  }
  void send(std::uint64_t value) { (void)!::write(ends_[1], &value, sizeof(value)); }
  std::uint64_t receive() {
    std::uint64_t value = 0;
    EXPECT_EQ(::read(ends_[0], &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
    return value;
  }

 private:
  std::array<int, 2> ends_{};
};

std::uint64_t number(const SharedBlock& block) {
  return static_cast<std::uint64_t>(block.id());
}

auto open_descriptors() {
  namespace fs = std::filesystem;
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

auto mappings() {
  return std::ranges::count(read_file("/proc/self/maps"), '\n');
}

std::size_t blocks_in_use() {
  release_shares_of_the_dead();
  return shared_heap_use().blocks;
}

TEST(SizeClass, OfEverySizeIsTheSmallestThatHoldsIt) {
  EXPECT_EQ(size_class_of(0), 0);
  for (unsigned c = 0; c < kSizeClasses; ++c) {
    EXPECT_EQ(size_class_of(class_bytes(c)), c);
    if (c > 0) {
      EXPECT_EQ(size_class_of(class_bytes(c - 1) + 1), c);
    }
  }
}

TEST(SharedBlock, WithoutAShareIsEmpty) {
  const SharedBlock block;
  EXPECT_TRUE(block.empty());
  EXPECT_EQ(block.data(), nullptr);
}

TEST(SharedBlock, OfAnySizeIsAlignedAndHoldsWhatIsWritten) {
  std::vector<SharedBlock> blocks;
  for (const std::size_t size : {0ul, 1ul, 63ul, 64ul, 65ul, 4096ul, 16'384ul, 100'000ul, 3'000'000ul}) {
    blocks.push_back(SharedBlock::allocate(size));
    ASSERT_EQ(blocks.back().size_bytes(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back().data()) % 64, 0);
    std::memset(blocks.back().data(), static_cast<int>(blocks.size()), size);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto* bytes = blocks[i].data();
    EXPECT_TRUE(std::all_of(bytes, bytes + blocks[i].size_bytes(), [&](std::byte b) { return b == std::byte(i + 1); }));
  }
}

TEST(SharedBlock, IsFreedWithItsLastHandle) {
  const std::size_t before = blocks_in_use();
  SharedBlock first = SharedBlock::allocate(100);
  SharedBlock second = first;
  SharedBlock third = SharedBlock::open(first.id());
  EXPECT_EQ(second.data(), third.data());
  EXPECT_EQ(third.size_bytes(), 100);
  first = SharedBlock();
  third = SharedBlock();
  EXPECT_EQ(blocks_in_use(), before + 1);
  second = SharedBlock();
  EXPECT_EQ(blocks_in_use(), before);
}

TEST(SharedBlock, FreedIsUsedAgain) {
  const BlockId first = SharedBlock::allocate(777).id();
  EXPECT_EQ(SharedBlock::allocate(777).id(), first);
}

TEST(SharedBlock, IsKeptByAMessagesShare) {
  SharedBlock block = SharedBlock::allocate(64);
  const BlockId id = block.id();
  block.data()[0] = std::byte{7};
  retain(id);
  block = SharedBlock();
  const SharedBlock other = SharedBlock::allocate(64);
  EXPECT_NE(other.id(), id);
  block = SharedBlock::open(id);
  EXPECT_EQ(block.data()[0], std::byte{7});
  const std::size_t before = blocks_in_use();
  release(id);
  EXPECT_EQ(blocks_in_use(), before);
  block = SharedBlock();
  EXPECT_EQ(blocks_in_use(), before - 1);
}

TEST(SharedBlock, CannotBeOpenedByANumberThatNoBlockHas) {
  open_shared_heap();
  EXPECT_THROW((void)SharedBlock::open(BlockId::none), UsageError);
  EXPECT_THROW((void)SharedBlock::open(static_cast<BlockId>(900'000)), UsageError);
}

TEST(SharedBlock, IsFoundByAnAddressWithinIt) {
  const SharedBlock small = SharedBlock::allocate(100);
  const SharedBlock large = SharedBlock::allocate(100'000);
  EXPECT_EQ(block_at(small.data()), small.id());
  EXPECT_EQ(block_at(large.data() + 99'999), large.id());
  EXPECT_FALSE(is_in_shared_heap(&small));
  EXPECT_EQ(block_at(&small), BlockId::none);
}

TEST(SharedHeap, GivesADifferentBlockToEveryThread) {
  std::vector<std::thread> threads;
  std::atomic<int> mistakes{0};
  const SharedBlock common = SharedBlock::allocate(64);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&mistakes, &common, t] {
      for (int i = 0; i < 20'000; ++i) {
        const SharedBlock mine = SharedBlock::allocate(64);
        auto& word = *reinterpret_cast<std::atomic<int>*>(mine.data());
        word.store(t);
        const SharedBlock same = SharedBlock::open(common.id());
        const SharedBlock again = mine;
        if (word.load() != t || same.data() != common.data()) ++mistakes;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(mistakes, 0);
  EXPECT_EQ(shared_heap_use().lost_blocks, 0);
}

TEST(SharedHeap, ThreadsShareOneShareInABlock) {
  const std::size_t before = blocks_in_use();
  SharedBlock block = SharedBlock::allocate(64);
  retain(block.id());
  const BlockId id = block.id();
  block = SharedBlock();  // Now every handle below may be the first or the last.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([id] {
      for (int i = 0; i < 20'000; ++i) (void)SharedBlock::open(id);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(blocks_in_use(), before + 1);
  release(id);
  EXPECT_EQ(blocks_in_use(), before);
}

TEST(SharedHeap, IsOneMappingAndTwoDescriptorsHoweverManyBlocks) {
  (void)SharedBlock::allocate(1);
  const auto descriptors = open_descriptors();
  const auto maps = mappings();
  std::vector<SharedBlock> blocks;
  for (int i = 0; i < 5'000; ++i) blocks.push_back(SharedBlock::allocate(1'000));
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_LE(mappings(), maps + 2);  // the vector may have taken some
}

TEST(SharedHeap, RefusesWhatTheMachineDoesNotHave) {
  try {
    (void)SharedBlock::allocate(std::size_t{1} << 40);
    FAIL() << "expected a SystemError";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOMEM);
  }
  EXPECT_THROW((void)SharedBlock::allocate(std::size_t{1} << 60), SystemError);
  EXPECT_NO_THROW((void)SharedBlock::allocate(100));
}

TEST(SharedHeap, GivesTheMemoryOfLargeBlocksBack) {
  constexpr std::size_t kLarge = std::size_t{100} << 20;
  (void)SharedBlock::allocate(1);
  const std::size_t before = shared_heap_use().backed_bytes;
  SharedBlock block = SharedBlock::allocate(kLarge);
  const BlockId id = block.id();
  EXPECT_GE(shared_heap_use().backed_bytes, before + kLarge);
  block = SharedBlock();
  EXPECT_LT(shared_heap_use().backed_bytes, before + kLarge / 2);
  block = SharedBlock::allocate(kLarge);
  EXPECT_EQ(block.id(), id);
  EXPECT_GE(shared_heap_use().backed_bytes, before + kLarge);
}

// In a child of its own, which has no heap yet.
int exit_code_with_a_small_heap() {
  return exit_code_of_child([] {
    const rlimit limit{.rlim_cur = 16 << 20, .rlim_max = RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    std::vector<SharedBlock> blocks;
    try {
      for (;;) {
        blocks.push_back(SharedBlock::allocate(100'000));
        std::memset(blocks.back().data(), 1, 100'000);
      }
    } catch (const SystemError& error) {
      if (error.error_number() != ENOMEM || blocks.size() < 100) return 3;
    }
    blocks.clear();
    return SharedBlock::allocate(5'000).empty() ? 4 : 0;  // of one of the larger blocks
  });
}

TEST(SharedHeap, IsNoLargerThanAFileMayBe) {
  // The heap must be the child's own: another program has none to inherit.
  EXPECT_EQ(exit_code_of_child([] {
              ::execl("/proc/self/exe", "shared_heap_test", "--gtest_filter=SmallSharedHeap.*",
                      "--gtest_also_run_disabled_tests", nullptr);
              return 1;
            }),
            0);
}

TEST(SmallSharedHeap, DISABLED_EndsInAnErrorNotInASignal) {
  EXPECT_EQ(exit_code_with_a_small_heap(), 0);
}

TEST(SharedHeap, AParentsBlockIsItsChilds) {
  const SharedBlock block = SharedBlock::allocate(1'000);
  block.data()[999] = std::byte{1};
  EXPECT_EQ(exit_code_of_child([&] {
              const SharedBlock same = SharedBlock::open(block.id());
              if (same.data() != block.data() || same.data()[999] != std::byte{1}) return 1;
              same.data()[999] = std::byte{2};
              return 0;
            }),
            0);
  EXPECT_EQ(block.data()[999], std::byte{2});
}

TEST(SharedHeap, AChildsBlockOutlivesTheChild) {
  open_shared_heap();
  Line line;
  EXPECT_EQ(exit_code_of_child([&] {
              const SharedBlock block = SharedBlock::allocate(10);
              block.data()[9] = std::byte{9};
              retain(block.id());
              line.send(number(block));
              return 0;
            }),
            0);
  const auto id = static_cast<BlockId>(line.receive());
  release_shares_of_the_dead();
  const SharedBlock block = SharedBlock::open(id);
  release(id);
  EXPECT_EQ(block.data()[9], std::byte{9});
  EXPECT_EQ(block.size_bytes(), 10);
}

TEST(SharedHeap, WhatAChildInheritedIsNotFreedUnderIt) {
  SharedBlock block = SharedBlock::allocate(640);
  const BlockId id = block.id();
  block.data()[0] = std::byte{5};
  Line to_child;
  const pid_t child = start_child([&] {
    (void)to_child.receive();
    return block.data()[0] == std::byte{5} ? 0 : 1;  // without any call of the heap since the fork
  });
  block = SharedBlock();
  const SharedBlock other = SharedBlock::allocate(640);
  EXPECT_NE(other.id(), id);
  other.data()[0] = std::byte{6};
  to_child.send(1);
  EXPECT_EQ(exit_code_of(child), 0);
  release_shares_of_the_dead();
  EXPECT_EQ(SharedBlock::allocate(640).id(), id);
}

TEST(SharedHeap, WhatAGrandchildInheritedIsNotFreedUnderIt) {
  SharedBlock block = SharedBlock::allocate(1'280);
  block.data()[0] = std::byte{5};
  const BlockId id = block.id();
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  Line to_grandchild;
  Line from_grandchild;
  EXPECT_EQ(exit_code_of_child([&] {
              (void)start_child([&] {
                (void)to_grandchild.receive();
                from_grandchild.send(block.data()[0] == std::byte{5} ? 1 : 2);
                return 0;
              });
              return 0;
            }),
            0);
  block = SharedBlock();
  release_shares_of_the_dead();
  const SharedBlock other = SharedBlock::allocate(1'280);
  EXPECT_NE(other.id(), id);
  to_grandchild.send(1);
  EXPECT_EQ(from_grandchild.receive(), 1);
  EXPECT_GT(::waitpid(-1, nullptr, 0), 0);
}

TEST(SharedHeap, AnInheritedBlockIsFreedWhenTheChildLetsItGo) {
  const std::size_t before = blocks_in_use();
  SharedBlock block = SharedBlock::allocate(100);
  Line to_parent;
  Line to_child;
  const pid_t child = start_child([&] {
    block = SharedBlock();
    to_parent.send(1);
    (void)to_child.receive();
    return 0;
  });
  (void)to_parent.receive();
  EXPECT_EQ(blocks_in_use(), before + 1);
  block = SharedBlock();
  EXPECT_EQ(blocks_in_use(), before);
  to_child.send(1);
  EXPECT_EQ(exit_code_of(child), 0);
}

TEST(SharedHeap, TheDeadGiveBackWhatTheyHeld) {
  const std::size_t before = blocks_in_use();
  Line line;
  const pid_t child = start_child([&] {
    std::vector<SharedBlock> blocks;
    for (int i = 0; i < 100; ++i) blocks.push_back(SharedBlock::allocate(100));
    line.send(1);
    for (;;) ::pause();
    return 0;
  });
  (void)line.receive();
  EXPECT_EQ(blocks_in_use(), before + 100);
  kill_and_reap(child);
  EXPECT_EQ(blocks_in_use(), before);
}

TEST(SharedHeap, TheGrowingHeapFirstTakesWhatTheDeadHeld) {
  Line line;
  const pid_t child = start_child([&] {
    const SharedBlock block = SharedBlock::allocate(20'000'000);
    line.send(number(block));
    for (;;) ::pause();
    return 0;
  });
  const auto id = static_cast<BlockId>(line.receive());
  kill_and_reap(child);
  EXPECT_EQ(SharedBlock::allocate(20'000'000).id(), id);
}

TEST(SharedHeap, HasPlaceForMoreThan256ProcessesOneAfterAnother) {
  SharedBlock block = SharedBlock::allocate(100);
  const std::size_t before = blocks_in_use();
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(exit_code_of_child([] { return SharedBlock::allocate(200).empty() ? 1 : 0; }), 0);
  }
  EXPECT_EQ(blocks_in_use(), before);
}

TEST(SharedHeap, WithoutPlaceForAProcessIsAnErrorAndFreesNothingUnderIt) {
  SharedBlock block = SharedBlock::allocate(5'120);
  block.data()[0] = std::byte{5};
  std::vector<std::pair<pid_t, int>> children;
  Line ready;
  Line go;
  // One place is the parent's. The last two children have none.
  constexpr int kChildren = 257;
  for (int i = 0; i < kChildren; ++i) {
    const bool has_place = i < 255;
    children.emplace_back(start_child([&, has_place] {
                            bool ok = true;
                            try {
                              ok = !SharedBlock::allocate(64).empty() && has_place;
                            } catch (const Error&) {
                              ok = !has_place;
                            }
                            ready.send(1);
                            (void)go.receive();
                            return ok && block.data()[0] == std::byte{5} ? 0 : 1;
                          }),
                          i);
  }
  for (int i = 0; i < kChildren; ++i) (void)ready.receive();
  block = SharedBlock();
  const SharedBlock other = SharedBlock::allocate(5'120);
  other.data()[0] = std::byte{6};
  for (int i = 0; i < kChildren; ++i) go.send(1);
  for (const auto& [child, i] : children) EXPECT_EQ(exit_code_of(child), 0) << "child " << i;
}

TEST(SharedHeap, ThatAnExecutedProgramJoinsIsTheSame) {
  const SharedBlock block = SharedBlock::allocate(100);
  std::memcpy(block.data(), "hello", 6);
  const std::string id = std::to_string(number(block));
  EXPECT_EQ(exit_code_of_child([&] {
              const int fd = ::dup(shared_heap_fd());
              ::setenv("HEAP_FD", std::to_string(fd).c_str(), 1);
              ::setenv("HEAP_BLOCK", id.c_str(), 1);
              ::execl("/proc/self/exe", "shared_heap_test", "--gtest_filter=JoinedHeap.*",
                      "--gtest_also_run_disabled_tests", nullptr);
              return 1;
            }),
            0);
  EXPECT_STREQ(reinterpret_cast<const char*>(block.data()), "joined");
}

TEST(JoinedHeap, DISABLED_HasTheSameBlocks) {
  join_shared_heap(Fd(std::stoi(std::getenv("HEAP_FD"))));
  const SharedBlock block = SharedBlock::open(static_cast<BlockId>(std::stoul(std::getenv("HEAP_BLOCK"))));
  ASSERT_STREQ(reinterpret_cast<const char*>(block.data()), "hello");
  std::memcpy(block.data(), "joined", 7);
  EXPECT_THROW(join_shared_heap(Fd()), UsageError);
}

TEST(SharedHeap, CannotBeJoinedBehindAnotherDescriptor) {
  const Segment segment = Segment::create("no heap", 8 << 20);
  EXPECT_EQ(exit_code_of_child([&] {
              const int fd = ::dup(segment.fd());
              ::setenv("HEAP_FD", std::to_string(fd).c_str(), 1);
              ::execl("/proc/self/exe", "shared_heap_test", "--gtest_filter=WrongHeap.*",
                      "--gtest_also_run_disabled_tests", nullptr);
              return 1;
            }),
            0);
}

TEST(WrongHeap, DISABLED_IsRefused) {
  EXPECT_THROW(join_shared_heap(Fd(std::stoi(std::getenv("HEAP_FD")))), UsageError);
}

// Letter boxes in which processes leave blocks for each other, and what is needed to see a block in two hands: each
// block bears a number that no other block ever had, at its begin and end, as long as anybody has a share in it.
struct Exchange {
  std::array<std::atomic<std::uint64_t>, 16> boxes;
  std::atomic<std::uint64_t> stamps;
};

struct Held {
  SharedBlock block;
  std::uint64_t stamp = 0;

  [[nodiscard]] bool is_intact() const {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::memcpy(&first, block.data(), sizeof(first));
    std::memcpy(&last, block.data() + block.size_bytes() - sizeof(last), sizeof(last));
    return first == stamp && last == stamp;
  }
};

class Trader {
 public:
  Trader(Exchange& exchange, unsigned seed) : exchange_(exchange), random_(seed) {}

  // False when a block is not what it was.
  bool act() {
    switch (random_() % 4) {
      case 0:
        return make();
      case 1:
        return post();
      case 2:
        return fetch();
      default:
        return drop();
    }
  }

  [[nodiscard]] bool are_intact() const { return std::ranges::all_of(held_, &Held::is_intact); }
  [[nodiscard]] std::size_t held() const {
    std::vector<BlockId> ids;
    for (const Held& held : held_) ids.push_back(held.block.id());
    std::ranges::sort(ids);
    ids.erase(std::ranges::unique(ids).begin(), ids.end());
    return ids.size();
  }
  void drop_all() { held_.clear(); }

 private:
  bool make() {
    if (held_.size() > 30) return drop();
    static constexpr std::array<std::size_t, 6> kSizes = {16, 64, 100, 1'000, 5'000, 40'000};
    Held held{.block = SharedBlock::allocate(kSizes[random_() % kSizes.size()]), .stamp = ++exchange_.stamps};
    std::memcpy(held.block.data(), &held.stamp, sizeof(held.stamp));
    std::memcpy(held.block.data() + held.block.size_bytes() - sizeof(held.stamp), &held.stamp, sizeof(held.stamp));
    held_.push_back(std::move(held));
    return true;
  }

  bool post() {
    if (held_.empty()) return true;
    const Held& held = held_[random_() % held_.size()];
    retain(held.block.id());
    const std::uint64_t before = any_box().exchange(number(held.block));
    if (before != 0) release(static_cast<BlockId>(before));
    return true;
  }

  bool fetch() {
    const std::uint64_t id = any_box().exchange(0);
    if (id == 0) return true;
    Held held{.block = SharedBlock::open(static_cast<BlockId>(id))};
    release(static_cast<BlockId>(id));
    std::memcpy(&held.stamp, held.block.data(), sizeof(held.stamp));
    held_.push_back(std::move(held));
    return held_.back().is_intact();
  }

  bool drop() {
    if (held_.empty()) return true;
    std::swap(held_[random_() % held_.size()], held_.back());
    const bool ok = held_.back().is_intact();
    held_.pop_back();
    return ok;
  }

  std::atomic<std::uint64_t>& any_box() { return exchange_.boxes[random_() % exchange_.boxes.size()]; }

  Exchange& exchange_;
  std::minstd_rand random_;
  std::vector<Held> held_;
};

TEST(SharedHeapFault, AThousandKillsLoseAtMostABlockEachAndPutNoneIntoTwoHands) {
  constexpr std::size_t kKills = 1'000;
  open_shared_heap();
  release_shares_of_the_dead();
  const SharedHeapUse before = shared_heap_use();
  const Segment segment = Segment::create("exchange", sizeof(Exchange));
  auto& exchange = *reinterpret_cast<Exchange*>(segment.data());
  Trader mine(exchange, 1);
  std::minstd_rand random(7);
  std::vector<pid_t> children;
  for (unsigned i = 0; i < kKills; ++i) {
    Trader inherited = mine;  // What the child trades with is also what it inherits.
    children.push_back(start_child([&] {
      (void)!::nice(10);  // The parent shall come to its kills.
      Trader trader = inherited;
      for (;;) {
        if (!trader.act()) return 1;
      }
    }));
    inherited.drop_all();
    for (int act = 0; act < 200; ++act) ASSERT_TRUE(mine.act());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2'000));
    if (children.size() < 3) continue;
    const std::size_t victim = random() % children.size();
    ASSERT_EQ(::kill(children[victim], SIGKILL), 0);
    ASSERT_EQ(exit_code_of(children[victim]), 128 + SIGKILL) << "a block changed in its holder's hands";
    children.erase(children.begin() + static_cast<std::ptrdiff_t>(victim));
  }
  for (const pid_t child : children) {
    ::kill(child, SIGKILL);
    ASSERT_EQ(exit_code_of(child), 128 + SIGKILL);
  }
  EXPECT_TRUE(mine.are_intact());
  for (auto& box : exchange.boxes) {
    if (const std::uint64_t id = box.exchange(0)) release(static_cast<BlockId>(id));
  }
  release_shares_of_the_dead();
  const SharedHeapUse use = shared_heap_use();
  const std::size_t held = mine.held();
  ASSERT_GE(use.blocks, before.blocks + held);
  const std::size_t lost = use.lost_blocks - before.lost_blocks + use.blocks - before.blocks - held;
  EXPECT_LE(lost, kKills);
  RecordProperty("lost", static_cast<int>(lost));
  mine.drop_all();
  EXPECT_EQ(shared_heap_use().blocks, use.blocks - held);
}

}  // namespace
}  // namespace hogpen
