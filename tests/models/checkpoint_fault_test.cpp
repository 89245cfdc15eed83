#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "tests/forked.h"
#include "tests/models/checkpoint_fixture.h"
#include "tests/models/fake_disk.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

/// The step and value of a checkpoint.
struct Save {
  std::int64_t step = 0;
  double value = 0.0;
};

constexpr Save kOld = {1, 1.0};
constexpr Save kNew = {2, 2.0};
constexpr Save kReplacing = {1, 2.0};

void save(CheckpointStore& store, const Save& what) {
  store.save(content(what.step, what.value));
}

class CheckpointFaultTest : public CheckpointTest {
 protected:
  /// What is wrong with a run's directory where one of `values` should load, or nothing. Afterwards a save must work
  /// there.
  static std::optional<std::string> trouble_in(const fs::path& run, const std::vector<double>& values,
                                               bool may_be_none) {
    UnsyncedFiles files;
    CheckpointStore store(run, 1, files);
    try {
      const auto latest = store.latest();
      if (!latest && !may_be_none) return "no checkpoint is left";
      if (latest && std::ranges::count(values, load_value(*latest)) == 0)
        return "a checkpoint of the wrong value loads";
      save(store, {9, 9.0});
      if (names(run) != std::vector<std::string>{"step-9"}) return "the next save leaves something behind";
      if (load_value(run / "step-9") != 9.0) return "the next save does not load";
    } catch (const std::exception& error) {
      return error.what();
    }
    return std::nullopt;
  }

  /// Saves `before` if given, then `now`, and loses power at each call in turn and with every luck. Returns what is
  /// wrong.
  std::vector<std::string> troubles_after_power_loss(FakeDisk::Flaw flaw, std::optional<Save> before, const Save& now) {
    std::vector<std::string> troubles;
    for (int call = 1, finished = 0; !finished; ++call) {
      fs::remove_all(base_ / "disk");
      fs::create_directories(base_ / "disk");
      FakeDisk disk(base_ / "disk", flaw);
      CheckpointStore store(base_ / "disk" / "run", 1, disk);
      if (before) save(store, *before);
      disk.lose_power_at(call);
      try {
        save(store, now);
        finished = 1;
      } catch (const FakeDisk::PowerLoss&) {
      }
      std::vector<double> values = {now.value};
      if (before && !finished) values.push_back(before->value);
      for (const FakeDisk::Luck luck : {FakeDisk::Luck{false, false}, {false, true}, {true, false}, {true, true}}) {
        fs::remove_all(base_ / "restored");
        disk.restore(base_ / "restored", luck);
        const auto trouble = trouble_in(base_ / "restored" / "run", values, !before && !finished);
        if (trouble) troubles.push_back(fmt::format("power loss at call {}: {}", call, *trouble));
      }
    }
    return troubles;
  }

  /// Lets each call of a second save fail in turn, and checks what is left.
  void check_failures(const Save& now, bool for_good) {
    for (int call = 1, finished = 0; !finished; ++call) {
      SCOPED_TRACE(fmt::format("call {} fails", call));
      fs::remove_all(run());
      FakeDisk disk(base_);
      CheckpointStore store(run(), 1, disk);
      save(store, kOld);
      disk.fail_at(call, ENOSPC, for_good);
      try {
        save(store, now);
        finished = disk.has_not_failed();
      } catch (const SystemError& error) {
        EXPECT_EQ(error.error_number(), ENOSPC);
        // Where the last sync fails, the new one is whole, and the old one not yet removed.
        const auto is_leftover = [](const std::string& name) { return contains(name, "."); };
        EXPECT_TRUE(for_good || std::ranges::none_of(names(run()), is_leftover));
      }
      EXPECT_EQ(trouble_in(run(), {kOld.value, now.value}, false), std::nullopt);
    }
  }
};

using Troubles = std::vector<std::string>;

TEST_F(CheckpointFaultTest, PowerLossDuringTheFirstSaveLeavesItOrNothing) {
  EXPECT_EQ(troubles_after_power_loss(FakeDisk::Flaw::none, {}, kNew), Troubles{});
}

TEST_F(CheckpointFaultTest, PowerLossLeavesTheOldOrTheNewCheckpoint) {
  EXPECT_EQ(troubles_after_power_loss(FakeDisk::Flaw::none, kOld, kNew), Troubles{});
}

TEST_F(CheckpointFaultTest, PowerLossWhileAStepIsReplacedLeavesTheOldOrTheNewOne) {
  EXPECT_EQ(troubles_after_power_loss(FakeDisk::Flaw::none, kOld, kReplacing), Troubles{});
}

// The tests above are worth something only if they see a sync that is missing.
TEST_F(CheckpointFaultTest, AMissingSyncOfFilesIsSeen) {
  EXPECT_NE(troubles_after_power_loss(FakeDisk::Flaw::no_file_sync, kOld, kNew), Troubles{});
  EXPECT_NE(troubles_after_power_loss(FakeDisk::Flaw::no_file_sync, {}, kNew), Troubles{});
}

TEST_F(CheckpointFaultTest, AMissingSyncOfDirectoriesIsSeen) {
  EXPECT_NE(troubles_after_power_loss(FakeDisk::Flaw::no_directory_sync, kOld, kNew), Troubles{});
  EXPECT_NE(troubles_after_power_loss(FakeDisk::Flaw::no_directory_sync, {}, kNew), Troubles{});
}

TEST_F(CheckpointFaultTest, ACallThatFailsLeavesAWholeCheckpointAndNothingElse) {
  check_failures(kNew, false);
  check_failures(kReplacing, false);
}

TEST_F(CheckpointFaultTest, ADiskThatFailsForGoodLeavesACheckpointThatLoads) {
  check_failures(kNew, true);
  check_failures(kReplacing, true);
}

constexpr int kSkip = 77;

TEST_F(CheckpointFaultTest, AFullDiskIsENOSPCAndTheOldCheckpointStays) {
  fs::create_directories(run());
  CheckpointContent large = content(2, 2.0);
  large.model = snapshot_of(filled({{"large", c10::ScalarType::Float, {1 << 18}}}, 2.0));
  const CheckpointContent old = content(1, 1.0);
  const int exit_code = exit_code_of_child([&] {
    // A mount that nobody else sees.
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return kSkip;
    if (::mount("none", run().c_str(), "tmpfs", 0, "size=256k") != 0) return kSkip;
    CheckpointStore store(run(), 1);
    store.save(old);
    try {
      store.save(large);
      return 1;
    } catch (const SystemError& error) {
      if (error.error_number() != ENOSPC || error.hint().empty()) return 2;
    }
    return store.latest() == step(1) && names(run()) == std::vector<std::string>{"step-1"} ? 0 : 3;
  });
  if (exit_code == kSkip) GTEST_SKIP() << "this user may not mount a small file system";
  EXPECT_EQ(exit_code, 0);
}

TEST_F(CheckpointFaultTest, ADirectoryThatMayNotBeWrittenIsAnErrorAndStaysAsItWas) {
  CheckpointStore(run(), 1).save(content(1, 1.0));
  const CheckpointContent next = content(2, 2.0);
  fs::permissions(run(),
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const int exit_code = exit_code_of_child([&] {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) return kSkip;  // root may write everywhere
    try {
      CheckpointStore(run(), 1).save(next);
      return 1;
    } catch (const SystemError& error) {
      return error.error_number() == EACCES && contains(error.what(), run().string()) ? 0 : 2;
    }
  });
  fs::permissions(run(), fs::perms::owner_all);
  if (exit_code == kSkip) GTEST_SKIP() << "runs as root, and may not become another user";
  EXPECT_EQ(exit_code, 0);
  EXPECT_EQ(names(run()), std::vector<std::string>{"step-1"});
}

}  // namespace
}  // namespace hogpen
