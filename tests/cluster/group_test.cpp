// The contract of a Group, for each implementation, over threads and over processes. NCCL's is a fake one.
#include <ATen/ops/from_blob.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cluster/group_board.h"
#include "runtime/cluster/nccl_group.h"
#include "runtime/cluster/shared_group.h"
#include "runtime/memory/shared.h"
#include "tests/footprint.h"
#include "tests/forked.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;
constexpr std::size_t kBufferBytes = 2'000'000;
constexpr int kMembers = 3;

enum class Kind { staged, in_place, nccl };

struct Form {
  Kind kind;
  bool in_threads;
  const char* name;
};

Deadline patience() {
  return Deadline::after(kPatience);
}

/// One member: its group, and tensors where the group takes them.
struct Member {
  Member(const Form& form_in, const SharedGroup::Memory& memory, int rank) : form(form_in) {
    if (form.kind == Kind::nccl) {
      if (!::dlopen(FAKE_NCCL, RTLD_NOW | RTLD_LOCAL)) throw Error(::dlerror());
      group = std::make_unique<NcclGroup>(memory, rank, NcclGroup::Options{.gpu = rank}, patience());
    } else {
      auto shared = std::make_unique<SharedGroup>(memory, rank);
      buffer = shared->buffer().data();
      group = std::move(shared);
    }
  }

  /// A tensor of these numbers. A second one takes the place of the first.
  template <class T>
  at::Tensor tensor(const std::vector<T>& numbers) {
    own.resize(numbers.size() * sizeof(T) + 1);
    std::byte* at = form.kind == Kind::in_place ? buffer : own.data();
    if (!numbers.empty()) std::memcpy(at, numbers.data(), numbers.size() * sizeof(T));
    const c10::Device device = form.kind == Kind::nccl ? c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(rank()))
                                                       : c10::Device(c10::kCPU);
    return at::for_blob(at, {static_cast<std::int64_t>(numbers.size())})
        .options(at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value).device(device))
        .target_device(device)
        .make_tensor();
  }
  [[nodiscard]] int rank() const { return group->rank(); }

  Form form;
  std::unique_ptr<Group> group;
  std::byte* buffer = nullptr;
  std::vector<std::byte> own;
};

template <class T>
std::vector<T> numbers_of(const at::Tensor& tensor) {
  const T* first = static_cast<const T*>(tensor.data_ptr());
  return {first, first + tensor.numel()};
}

std::vector<float> random_floats(std::size_t count, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

struct Verb {
  const char* name;
  void (*call)(Group& group, const at::Tensor& tensor, Deadline deadline);
};

constexpr Verb kVerbs[] = {
    {"broadcast",
     [](Group& group, const at::Tensor& tensor, Deadline deadline) { group.broadcast(tensor, 0, deadline); }},
    {"all_reduce", [](Group& group, const at::Tensor& tensor,
                      Deadline deadline) { group.all_reduce(tensor, Reduction::sum, deadline); }},
    {"barrier", [](Group& group, const at::Tensor&, Deadline deadline) { group.barrier(deadline); }}};

/// What an expression throws, or the empty text.
template <class Exception = GroupError>
std::string text_of(const std::function<void()>& expression) {
  try {
    expression();
  } catch (const Exception& error) {
    return error.what();
  }
  return "";
}

class GroupContract : public LeavesNothing<testing::TestWithParam<Form>> {
 protected:
  using Body = std::function<void(Member& member)>;

  static SharedGroup::Memory memory_of(int members) {
    return SharedGroup::Memory({.world_size = members, .buffer_bytes = kBufferBytes});
  }

  static int run_member(const SharedGroup::Memory& memory, int rank, const Body& body) {
    try {
      Member member(GetParam(), memory, rank);
      body(member);
    } catch (const std::exception& error) {
      ADD_FAILURE() << "rank " << rank << ": " << error.what();
    }
    return HasFailure() ? 1 : 0;
  }

  static void in_threads(int members, const Body& body) {
    const SharedGroup::Memory memory = memory_of(members);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < members; ++rank) threads.emplace_back([&, rank] { run_member(memory, rank, body); });
    for (std::thread& thread : threads) thread.join();
  }

  /// Runs the body in each member, until all have ended.
  static void together(int members, const Body& body) {
    if (GetParam().in_threads && GetParam().kind != Kind::nccl) return in_threads(members, body);
    if (GetParam().in_threads) {  // CUDA, also a fake one, leaves its mark on a process.
      EXPECT_EQ(exit_code_of_child([&] {
                  in_threads(members, body);
                  return HasFailure() ? 1 : 0;
                }),
                0);
      return;
    }
    const SharedGroup::Memory memory = memory_of(members);
    std::vector<pid_t> children;
    for (int rank = 0; rank < members; ++rank) {
      children.push_back(start_child([&] { return run_member(memory, rank, body); }));
    }
    for (const pid_t child : children) EXPECT_EQ(exit_code_of(child), 0);
  }
};

TEST_P(GroupContract, ABroadcastGivesAllTheNumbersOfTheRoot) {
  together(kMembers, [](Member& member) {
    for (const std::size_t size : {0, 1, 17, 300'000}) {
      for (int root = 0; root < kMembers; ++root) {
        const at::Tensor tensor = member.tensor(random_floats(size, member.rank()));
        member.group->broadcast(tensor, root, patience());
        EXPECT_EQ(numbers_of<float>(tensor), random_floats(size, root)) << size;
      }
    }
    const at::Tensor bytes = member.tensor(std::vector<std::uint8_t>{1, static_cast<std::uint8_t>(member.rank())});
    member.group->broadcast(bytes, 2, patience());
    EXPECT_EQ(numbers_of<std::uint8_t>(bytes), (std::vector<std::uint8_t>{1, 2}));
  });
}

TEST_P(GroupContract, AnAllReduceGivesAllTheSumOrTheMean) {
  together(kMembers, [](Member& member) {
    for (const std::size_t size : {0, 1, 2, 17, 5000, 300'000}) {  // also less than members, and more than is staged
      const auto mine = static_cast<float>(member.rank() + 1);
      const at::Tensor sum = member.tensor(std::vector<float>(size, mine));
      member.group->all_reduce(sum, Reduction::sum, patience());
      EXPECT_EQ(numbers_of<float>(sum), std::vector<float>(size, 6.0F)) << size;
      const at::Tensor mean = member.tensor(std::vector<double>(size / 2, mine));
      member.group->all_reduce(mean, Reduction::mean, patience());
      EXPECT_EQ(numbers_of<double>(mean), std::vector<double>(size / 2, 2.0)) << size;
    }
  });
}

TEST_P(GroupContract, AllRanksHaveTheSameBits) {
  together(kMembers, [](Member& member) {
    const at::Tensor mine = member.tensor(random_floats(10'001, member.rank()));
    member.group->all_reduce(mine, Reduction::mean, patience());
    const std::vector<float> result = numbers_of<float>(mine);
    for (int root = 0; root < kMembers; ++root) {
      const at::Tensor theirs = member.tensor(result);
      member.group->broadcast(theirs, root, patience());
      EXPECT_EQ(std::memcmp(theirs.data_ptr(), result.data(), theirs.nbytes()), 0) << root;
    }
  });
}

TEST_P(GroupContract, SumsAreInTheOrderOfRanks) {
  if (GetParam().kind == Kind::nccl) GTEST_SKIP() << "NCCL chooses its own";
  together(kMembers, [](Member& member) {
    const std::vector<float> of_ranks = {1e8F, -1e8F, 1.0F};  // in another order, 1 is lost
    const at::Tensor tensor = member.tensor(std::vector<float>(100, of_ranks[static_cast<std::size_t>(member.rank())]));
    member.group->all_reduce(tensor, Reduction::sum, patience());
    EXPECT_EQ(numbers_of<float>(tensor), std::vector<float>(100, 1.0F));
  });
}

TEST_P(GroupContract, OneAloneIsAGroup) {
  together(1, [](Member& member) {
    const at::Tensor tensor = member.tensor(std::vector<float>{3.0F});
    member.group->broadcast(tensor, 0, patience());
    member.group->all_reduce(tensor, Reduction::mean, patience());
    member.group->barrier(patience());
    EXPECT_EQ(numbers_of<float>(tensor), std::vector<float>{3.0F});
  });
}

TEST_P(GroupContract, ReplicasAveragedEveryFewStepsStayTogether) {
  together(kMembers, [](Member& member) {
    const at::Tensor replica = member.tensor(std::vector<double>(1000, member.rank() == 0 ? 5.0 : -1.0));
    member.group->broadcast(replica, 0, patience());
    auto* parameters = static_cast<double*>(replica.data_ptr());
    for (int step = 1; step <= 100; ++step) {
      for (int i = 0; i < 1000; ++i) parameters[i] += member.rank();
      if (step % 10 == 0) member.group->all_reduce(replica, Reduction::mean, patience());
    }
    EXPECT_EQ(numbers_of<double>(replica), std::vector<double>(1000, 105.0));
  });
}

TEST_P(GroupContract, NobodyPassesABarrierBeforeAllHaveCome) {
  const Shared<std::atomic<int>> arrived(0);
  together(kMembers, [&](Member& member) {
    for (int round = 1; round <= 20; ++round) {
      if (member.rank() == round % kMembers) std::this_thread::sleep_for(1ms);
      ++*arrived;
      member.group->barrier(patience());
      EXPECT_GE(arrived->load(), round * kMembers);
    }
  });
}

TEST_P(GroupContract, WhatItCannotTakeIsRefusedAndTheGroupGoesOn) {
  together(2, [](Member& member) {
    EXPECT_THROW(member.group->all_reduce(member.tensor(std::vector<int>{1}), Reduction::sum, patience()), UsageError);
    EXPECT_THROW(member.group->broadcast(member.tensor(std::vector<int>{1}), 2, patience()), UsageError);
    EXPECT_THROW(member.group->broadcast(member.tensor(std::vector<int>{1}), -1, patience()), UsageError);
    EXPECT_THROW(member.group->broadcast(at::Tensor(), 0, patience()), UsageError);
    if (GetParam().kind != Kind::nccl) {  // LibTorch without CUDA can make no such view of its tensors.
      const at::Tensor gaps = member.tensor(std::vector<float>(6)).as_strided({3}, {2});
      EXPECT_THROW(member.group->all_reduce(gaps, Reduction::sum, patience()), UsageError);
    }
    member.group->barrier(patience());
  });
}

TEST_P(GroupContract, AMissingRankIsNamedWhenTheDeadlinePasses) {
  const Shared<std::atomic<int>> given_up(0);
  together(kMembers, [&](Member& member) {
    const at::Tensor tensor = member.tensor(std::vector<float>{1.0F});
    if (member.rank() == 0) {
      const auto call = [&] { member.group->all_reduce(tensor, Reduction::sum, Deadline::after(100ms)); };
      EXPECT_EQ(text_of<TimeoutError>(call).substr(0, 20), "all_reduce: ranks 1,") << text_of<TimeoutError>(call);
      ++*given_up;
    }
    ASSERT_TRUE(wait_until(kPatience, [&] { return given_up->load() == 1; }));
    EXPECT_EQ(text_of([&] { member.group->all_reduce(tensor, Reduction::sum, patience()); }),
              "all_reduce: rank 0 gave up when its deadline passed");
  });
}

TEST_P(GroupContract, EachVerbEndsAtItsDeadline) {
  for (const Verb& verb : kVerbs) {
    const Shared<std::atomic<bool>> has_ended(false);
    together(2, [&](Member& member) {
      if (member.rank() == 1) {
        EXPECT_TRUE(wait_until(kPatience, [&] { return has_ended->load(); }));
        return;
      }
      const at::Tensor tensor = member.tensor(std::vector<float>{1.0F});
      EXPECT_EQ(text_of<TimeoutError>([&] { verb.call(*member.group, tensor, Deadline::after(50ms)); }),
                fmt::format("{}: rank 1 did not come before the deadline", verb.name));
      has_ended->store(true);
    });
  }
}

TEST_P(GroupContract, AnAbortEndsWhatOthersAreInAndWhatTheyCallLater) {
  together(kMembers, [](Member& member) {
    const at::Tensor tensor = member.tensor(std::vector<float>{1.0F});
    if (member.rank() == 1) {
      std::this_thread::sleep_for(50ms);
      member.group->abort();
    }
    for (int i = 0; i < 2; ++i) {
      const auto call = [&] { member.group->all_reduce(tensor, Reduction::sum, patience()); };
      EXPECT_EQ(text_of(call), "all_reduce: rank 1 aborted the group");
    }
    EXPECT_NE(text_of([&] { member.group->broadcast(tensor, 0, patience()); }), "");
  });
}

TEST_P(GroupContract, WhoLeavesIsNotWaitedFor) {
  together(kMembers, [](Member& member) {
    const at::Tensor tensor = member.tensor(std::vector<float>{1.0F});
    member.group->all_reduce(tensor, Reduction::sum, patience());
    if (member.rank() == 2) return;
    EXPECT_EQ(text_of([&] { member.group->broadcast(tensor, 0, patience()); }), "broadcast: rank 2 has left the group");
  });
}

using GroupDeaths = GroupContract;  // of processes: a thread does not die alone

enum class Point { before, in, between };

/// Kills rank 1, and expects the others to name it.
void kill_one(const Form& form, Point point, const Verb& verb) {
  const SharedGroup::Memory memory({.world_size = kMembers, .buffer_bytes = kBufferBytes});
  const Shared<std::atomic<int>> joined(0);
  const Shared<std::atomic<bool>> is_told(false);
  std::vector<pid_t> children;
  for (int rank = 0; rank < kMembers; ++rank) {
    children.push_back(start_child([&, rank] {
      Member member(form, memory, rank);
      const at::Tensor tensor = member.tensor(std::vector<float>(10'000, 1.0F));
      const auto call = [&] { verb.call(*member.group, tensor, patience()); };
      if (point == Point::between) call();
      ++*joined;
      if (!wait_until(kPatience, [&] { return joined->load() == kMembers; })) return 2;
      if (rank == 1 && point != Point::in) ::raise(SIGKILL);
      // Rank 0 waits meanwhile; and a barrier that all have come to is passed, whoever died in it.
      if (rank == 2 && !wait_until(kPatience, [&] { return is_told->load(); })) return 3;
      const std::string text = text_of(call);
      if (rank == 0) is_told->store(true);
      const std::string right = fmt::format("{}: rank 1 (pid {}) died", verb.name, memory.board().pid_of(1));
      EXPECT_EQ(text, right);
      return text == right ? 0 : 1;
    }));
  }
  if (point == Point::in) {
    EXPECT_TRUE(wait_until(kPatience, [&] { return joined->load() == kMembers; }));
    std::this_thread::sleep_for(50ms);
    ::kill(children[1], SIGKILL);
  }
  EXPECT_EQ(exit_code_of(children[1]), 128 + SIGKILL);
  EXPECT_EQ(exit_code_of(children[0]), 0);
  EXPECT_EQ(exit_code_of(children[2]), 0);
}

TEST_P(GroupDeaths, ARankKilledBeforeACollectiveIsNamed) {
  for (const Verb& verb : kVerbs) kill_one(GetParam(), Point::before, verb);
}

TEST_P(GroupDeaths, ARankKilledInACollectiveIsNamed) {
  for (const Verb& verb : kVerbs) kill_one(GetParam(), Point::in, verb);
}

TEST_P(GroupDeaths, ARankKilledBetweenCollectivesIsNamed) {
  for (const Verb& verb : kVerbs) kill_one(GetParam(), Point::between, verb);
}

constexpr Form kThreads[] = {{Kind::staged, true, "shared_threads"},
                             {Kind::in_place, true, "in_place_threads"},
                             {Kind::nccl, true, "nccl_threads"}};
constexpr Form kProcesses[] = {{Kind::staged, false, "shared_processes"},
                               {Kind::in_place, false, "in_place_processes"},
                               {Kind::nccl, false, "nccl_processes"}};

std::string name_of(const testing::TestParamInfo<Form>& form) {
  return form.param.name;
}

INSTANTIATE_TEST_SUITE_P(Threads, GroupContract, testing::ValuesIn(kThreads), name_of);
INSTANTIATE_TEST_SUITE_P(Processes, GroupContract, testing::ValuesIn(kProcesses), name_of);
INSTANTIATE_TEST_SUITE_P(Processes, GroupDeaths, testing::ValuesIn(kProcesses), name_of);

using GroupBoardTest = LeavesNothing<>;

TEST_F(GroupBoardTest, WhoIsGoneHoldsUpOnlyWhatItHadNotPassed) {
  detail::GroupBoard board(2);
  for (const int rank : {0, 1}) {
    board.join(rank);
    board.arrive(rank);
  }
  board.pass(1);
  board.leave(1);
  EXPECT_EQ(text_of([&] { board.check(0, "verb"); }), "");
  board.pass(0);
  board.arrive(0);
  EXPECT_EQ(text_of([&] { board.check(0, "verb"); }), "verb: rank 1 has left the group");
}

using SharedGroupTest = LeavesNothing<>;

TEST_F(SharedGroupTest, RanksThatCallDifferentThingsAreToldAndTheGroupGoesOn) {
  const SharedGroup::Memory memory({.world_size = 2});
  const auto member = [&](int rank) {
    SharedGroup group(memory, rank);
    std::vector<float> numbers(static_cast<std::size_t>(rank + 1), 1.0F);
    const at::Tensor tensor = at::from_blob(numbers.data(), {rank + 1}, at::kFloat);
    EXPECT_EQ(text_of<UsageError>([&] { group.all_reduce(tensor, Reduction::sum, patience()); }).substr(0, 58),
              fmt::format("all ranks must call the same, but rank {} called all_reduce", rank));
    const auto other = [&] { rank == 0 ? group.barrier(patience()) : group.broadcast(tensor, 0, patience()); };
    EXPECT_THROW(other(), UsageError);
    const at::Tensor first = tensor.narrow(0, 0, 1);
    group.all_reduce(first, Reduction::sum, patience());
    EXPECT_EQ(numbers[0], 2.0F);
  };
  std::thread one([&] { member(1); });
  member(0);
  one.join();
}

TEST_F(SharedGroupTest, ARankHasOneMember) {
  const SharedGroup::Memory memory({.world_size = 2});
  const SharedGroup group(memory, 1);
  EXPECT_THROW(SharedGroup(memory, 1), UsageError);
  EXPECT_THROW(SharedGroup(memory, 2), UsageError);
  EXPECT_THROW(SharedGroup(memory, -1), UsageError);
}

using SharedGroupFork = LeavesNothing<>;

TEST_F(SharedGroupFork, WhatAForkedChildDoesWithItsCopyIsNotLeaving) {
  const SharedGroup::Memory memory({.world_size = 2});
  auto group = std::make_unique<SharedGroup>(memory, 0);
  EXPECT_EQ(exit_code_of_child([&] {
              group.reset();
              return 0;
            }),
            0);
  std::thread other([&] { SharedGroup(memory, 1).barrier(patience()); });
  EXPECT_EQ(text_of([&] { group->barrier(patience()); }), "");
  other.join();
}

TEST_F(SharedGroupTest, SizesThatCannotBeAreRefused) {
  EXPECT_THROW(SharedGroup::Memory({.world_size = 0}), UsageError);
  EXPECT_THROW(SharedGroup::Memory({.world_size = 257}), UsageError);
  EXPECT_THROW(SharedGroup::Memory({.world_size = 1, .staging_bytes = 8}), UsageError);
}

TEST_F(SharedGroupTest, SomebodyElseCanAbortIt) {
  const SharedGroup::Memory memory({.world_size = 2});
  SharedGroup group(memory, 0);
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    memory.abort();
  });
  EXPECT_EQ(text_of([&] { group.barrier(Deadline::never()); }), "barrier: the group was aborted");
  other.join();
}

}  // namespace
}  // namespace hogpen
