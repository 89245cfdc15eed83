#include "runtime/memory/replacement_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace {

// What is called of libc, in its order: a kill shows nothing of an fsync that is missing.
std::vector<std::string> g_calls;
std::vector<::mode_t> g_modes;  // of files, before fchmod
bool g_fails_for_directories = false;

}  // namespace

extern "C" int fsync(int fd) {
  struct ::stat status{};
  ::fstat(fd, &status);
  g_calls.emplace_back(S_ISDIR(status.st_mode) ? "fsync directory" : "fsync file");
  if (S_ISDIR(status.st_mode) && g_fails_for_directories) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  g_calls.emplace_back("rename");
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

extern "C" int fchmod(int fd, ::mode_t mode) noexcept {
  struct ::stat status{};
  ::fstat(fd, &status);
  g_modes.push_back(status.st_mode & 0777);
  return static_cast<int>(::syscall(SYS_fchmod, fd, mode));
}

namespace hogpen {
namespace {

namespace fs = std::filesystem;

class ReplacementFileTest : public testing::Test {
 protected:
  ReplacementFileTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::temp_directory_path() / fmt::format("hogpen-replacement-{}-{}", ::getpid(), test->name());
    fs::create_directories(directory_);
    path_ = directory_ / "file";
  }
  ~ReplacementFileTest() override { fs::remove_all(directory_); }

  std::size_t names() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
  fs::path path_;
};

void write(const fs::path& path, std::string_view content) {
  write_atomically(FileSystem::real(), path, content);
}

void replace(const fs::path& path, std::string_view content) {
  ReplacementFile file(path);
  file.append(content);
  file.commit();
}

::mode_t mode_of(const fs::path& path) {
  struct ::stat status{};
  syscall_ok(::stat(path.c_str(), &status), "stat");
  return status.st_mode & 07777;
}

TEST_F(ReplacementFileTest, TheOldContentStaysUntilItIsCommitted) {
  write(path_, "old");
  ReplacementFile file(path_);
  file.append("ne");
  file.append("w");
  EXPECT_EQ(read_file(path_), "old");
  file.commit();
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(names(), 1);
}

TEST_F(ReplacementFileTest, ItIsOnTheDiskBeforeItHasItsNameAndTheNameIsBeforeItIsDone) {
  ReplacementFile file(path_);
  file.append("new");
  g_calls.clear();
  file.commit();
  EXPECT_EQ(g_calls, (std::vector<std::string>{"fsync file", "rename", "fsync directory"}));
}

TEST_F(ReplacementFileTest, ADirectoryThatIsNotSyncedIsToldAsSuch) {
  ReplacementFile file(path_);
  file.append("new");
  g_fails_for_directories = true;
  try {
    file.commit();
    ADD_FAILURE() << "no error";
  } catch (const SystemError& error) {
    EXPECT_NE(std::string(error.what()).find("the new content is there"), std::string::npos) << error.what();
  }
  g_fails_for_directories = false;
  EXPECT_EQ(read_file(path_), "new");
}

TEST_F(ReplacementFileTest, NobodyElseReadsTheTemporaryOfAFileThatIsTheirs) {
  write(path_, "old");
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  g_modes.clear();
  const ReplacementFile file(path_, 0666);
  EXPECT_EQ(mode_of(file.temporary()), 0600);
  EXPECT_EQ(g_modes, std::vector<::mode_t>{0600}) << "before its mode is set";
}

TEST_F(ReplacementFileTest, AMappedOneIsReplacedToo) {
  {
    ReplacementFile file(path_);
    const std::span<std::byte> bytes = file.map(5000);
    EXPECT_EQ(bytes.size(), 5000);
    std::memset(bytes.data(), 'x', bytes.size());
    file.commit();
  }
  EXPECT_EQ(read_file(path_), std::string(5000, 'x'));
}

TEST_F(ReplacementFileTest, AnEmptyOneIsAFileToo) {
  ReplacementFile file(path_);
  EXPECT_TRUE(file.map(0).empty());
  file.commit();
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(ReplacementFileTest, OneThatIsNotCommittedLeavesNothing) {
  write(path_, "old");
  {
    ReplacementFile(path_).append("new");
  }
  {
    (void)ReplacementFile(path_).map(1 << 20);
  }
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(names(), 1);
}

TEST_F(ReplacementFileTest, TheTemporaryIsBesideAndEndsInTmp) {
  const ReplacementFile file(path_);
  const fs::path temporary = fs::directory_iterator(directory_)->path();
  EXPECT_EQ(temporary.extension(), ".tmp");
  EXPECT_TRUE(temporary.filename().string().starts_with("file."));
}

TEST_F(ReplacementFileTest, TwoWritersDoNotMeet) {
  ReplacementFile first(path_);
  ReplacementFile second(path_);
  first.append("first");
  second.append("second");
  first.commit();
  second.commit();
  EXPECT_EQ(read_file(path_), "second");
}

TEST_F(ReplacementFileTest, TheLongestNameWorks) {
  const fs::path longest = directory_ / std::string(255, 'n');
  replace(longest, "new");
  EXPECT_EQ(read_file(longest), "new");
}

TEST_F(ReplacementFileTest, TheModeIsThatOfTheOldFileOrTheOneGiven) {
  const ::mode_t umask = ::umask(022);
  write(path_, "old");
  ASSERT_EQ(::chmod(path_.c_str(), 0606), 0);
  replace(path_, "new");
  EXPECT_EQ(mode_of(path_), 0606);
  fs::remove(path_);
  {
    ReplacementFile file(path_, 0660);
    file.commit();
  }
  EXPECT_EQ(mode_of(path_), 0640);
  ::umask(umask);
}

TEST_F(ReplacementFileTest, ALinkStaysALink) {
  fs::create_directory(directory_ / "deeper");
  write(directory_ / "deeper/file", "old");
  fs::create_symlink("deeper/file", path_);
  replace(path_, "new");
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(read_file(directory_ / "deeper/file"), "new");
}

TEST_F(ReplacementFileTest, WhatIsNoRegularFileIsRefused) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  fs::create_symlink("nowhere", directory_ / "dangling");
  for (const fs::path& path : {path_, directory_, directory_ / "dangling", fs::path("/dev/null")}) {
    EXPECT_THROW(ReplacementFile{path}, UsageError) << path;
  }
  EXPECT_EQ(names(), 2);
}

TEST_F(ReplacementFileTest, AMissingDirectoryIsNamed) {
  try {
    ReplacementFile file(directory_ / "missing/file");
    ADD_FAILURE() << "no error";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("missing/file"), std::string::npos);
    EXPECT_EQ(error.hint(), "make the directory first");
  }
}

TEST_F(ReplacementFileTest, AFileSizeLimitIsAnErrorAndNoSignal) {
  struct ::rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const ::rlimit small = {.rlim_cur = 1000, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    ReplacementFile mapped(path_);
    EXPECT_THROW((void)mapped.map(1001), SystemError);
    ReplacementFile written(path_);
    written.append(std::string(1000, 'x'));
    EXPECT_THROW(written.append("y"), SystemError);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(names(), 0);
}

}  // namespace
}  // namespace hogpen
