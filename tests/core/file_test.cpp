#include "runtime/core/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::temp_directory_path() / fmt::format("hogpen-file-test-{}-{}", ::getpid(), test->name());
    fs::create_directories(directory_);
  }
  ~FileTest() override { fs::remove_all(directory_); }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_)) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }

  fs::path directory_;
};

void write(const fs::path& path, const std::vector<std::string>& pieces) {
  std::vector<std::span<const std::byte>> spans;
  for (const std::string& piece : pieces) spans.push_back(std::as_bytes(std::span(piece)));
  FileSystem::real().write_and_sync(path, spans);
}

template <class Call>
int error_number_of(Call&& call) {
  try {
    call();
  } catch (const SystemError& error) {
    return error.error_number();
  }
  return 0;
}

TEST_F(FileTest, PiecesAreWrittenOneAfterTheOther) {
  write(directory_ / "f", {"one ", "", "two ", "three"});
  EXPECT_EQ(read_file(directory_ / "f"), "one two three");
}

TEST_F(FileTest, NoPieceMakesAnEmptyFile) {
  write(directory_ / "f", {});
  EXPECT_EQ(read_file(directory_ / "f"), "");
  write(directory_ / "g", {"", ""});
  EXPECT_EQ(read_file(directory_ / "g"), "");
}

TEST_F(FileTest, MorePiecesThanOneWritevTakesAreAllWritten) {
  std::vector<std::string> pieces;
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    pieces.push_back(fmt::format("{},", i));
    expected += pieces.back();
  }
  write(directory_ / "f", pieces);
  EXPECT_EQ(read_file(directory_ / "f"), expected);
}

TEST_F(FileTest, AShorterFileReplacesALongerOne) {
  write(directory_ / "f", {"a long text"});
  write(directory_ / "f", {"short"});
  EXPECT_EQ(read_file(directory_ / "f"), "short");
}

/// Interrupts the calling thread's system calls every millisecond.
class Interruptions {
 public:
  Interruptions() {
    struct ::sigaction action{};
    action.sa_handler = [](int) {};  // without SA_RESTART
    ::sigaction(SIGALRM, &action, &before_);
    const ::itimerval every{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
  }
  ~Interruptions() {
    const ::itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  struct ::sigaction before_{};
};

std::string read_slowly(const fs::path& path) {
  ::sigset_t alarm;
  ::sigemptyset(&alarm);
  ::sigaddset(&alarm, SIGALRM);
  ::pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
  std::ifstream in(path);
  std::string all;
  for (std::string chunk(20'000, ' '); in.read(chunk.data(), 20'000) || in.gcount() > 0;) {
    all.append(chunk, 0, static_cast<std::size_t>(in.gcount()));
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return all;
}

// A pipe holds 64 KiB: a signal ends a write that waits for its reader, and it has written a part or, EINTR, nothing.
TEST_F(FileTest, InterruptedAndPartialWritesAreContinued) {
  const fs::path fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::string sent(300'000, 'x');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>('a' + i % 26);
  std::string received;
  std::thread reader([&] { received = read_slowly(fifo); });
  int error = 0;
  {
    const Interruptions interruptions;
    error = error_number_of([&] { write(fifo, {sent.substr(0, 100'001), sent.substr(100'001)}); });
  }
  reader.join();
  EXPECT_EQ(error, EINVAL);  // fsync refuses a pipe, which then holds everything
  EXPECT_EQ(received, sent);
}

TEST_F(FileTest, AWriteWithoutPlaceNamesThePath) {
  try {
    write(directory_ / "absent" / "f", {"x"});
    FAIL() << "must throw";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOENT);
    EXPECT_NE(std::string(error.what()).find((directory_ / "absent" / "f").string()), std::string::npos);
  }
}

TEST_F(FileTest, AFullDiskIsENOSPCWithAHint) {
  try {
    write("/dev/full", {"x"});
    FAIL() << "must throw";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
    EXPECT_NE(error.hint().find("free space"), std::string::npos);
  }
}

/// Lowers RLIMIT_FSIZE of this process for a while.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(::rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const ::rlimit lowered{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &lowered);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  ::rlimit before_{};
};

TEST_F(FileTest, AFileSizeLimitIsAnErrorAndNotADeathBySignal) {
  const FileSizeLimit limit(1000);
  write(directory_ / "fits", {std::string(1000, 'x')});
  EXPECT_EQ(error_number_of([&] { write(directory_ / "f", {std::string(1001, 'x')}); }), EFBIG);
  EXPECT_EQ(names(), std::vector<std::string>{"fits"});
}

TEST_F(FileTest, ADirectoryThatIsThereIsNoError) {
  FileSystem& files = FileSystem::real();
  files.create_directory(directory_ / "d");
  files.create_directory(directory_ / "d");
  EXPECT_TRUE(fs::is_directory(directory_ / "d"));
  write(directory_ / "f", {"x"});
  EXPECT_EQ(error_number_of([&] { files.create_directory(directory_ / "f"); }), EEXIST);
  EXPECT_EQ(error_number_of([&] { files.create_directory(directory_ / "a" / "b"); }), ENOENT);
}

TEST_F(FileTest, RenameReplacesAndNamesBothPathsWhenItFails) {
  FileSystem& files = FileSystem::real();
  write(directory_ / "new", {"new"});
  write(directory_ / "old", {"old"});
  files.rename(directory_ / "new", directory_ / "old");
  files.sync_directory(directory_);
  EXPECT_EQ(read_file(directory_ / "old"), "new");
  try {
    files.rename(directory_ / "absent", directory_ / "target");
    FAIL() << "must throw";
  } catch (const SystemError& error) {
    EXPECT_NE(std::string(error.what()).find("absent"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("target"), std::string::npos);
  }
}

TEST_F(FileTest, RemoveAllTakesATreeAndDoesNotMindNothing) {
  FileSystem& files = FileSystem::real();
  files.create_directory(directory_ / "d");
  write(directory_ / "d" / "f", {"x"});
  files.remove_all(directory_ / "d");
  files.remove_all(directory_ / "d");
  EXPECT_TRUE(names().empty());
}

TEST_F(FileTest, ReadFileReadsWhatHasNoSize) {
  EXPECT_FALSE(read_file("/proc/self/status").empty());
}

TEST_F(FileTest, ReadFileOfNothingIsAnError) {
  EXPECT_EQ(error_number_of([&] { (void)read_file(directory_ / "absent"); }), ENOENT);
  EXPECT_EQ(error_number_of([&] { (void)read_file(directory_); }), EISDIR);
}

TEST_F(FileTest, WriteAtomicallyMakesOrReplacesAFile) {
  write_atomically(FileSystem::real(), directory_ / "f", "first");
  write_atomically(FileSystem::real(), directory_ / "f", "second");
  EXPECT_EQ(read_file(directory_ / "f"), "second");
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

/// Forwards to the real one, and fails at one call.
class FailingFileSystem final : public FileSystem {
 public:
  explicit FailingFileSystem(int failing_call) : failing_call_(failing_call) {}

  void write_and_sync(const fs::path& path, std::span<const std::span<const std::byte>> pieces) override {
    real().write_and_sync(path, {});  // what a full disk leaves behind
    count();
    real().write_and_sync(path, pieces);
  }
  void create_directory(const fs::path& path) override { count(), real().create_directory(path); }
  void rename(const fs::path& from, const fs::path& to) override { count(), real().rename(from, to); }
  void sync_directory(const fs::path& path) override { count(), real().sync_directory(path); }
  void remove_all(const fs::path& path) override { real().remove_all(path); }

 private:
  void count() {
    if (++calls_ == failing_call_) throw SystemError("a call", ENOSPC);
  }

  int failing_call_;
  int calls_ = 0;
};

TEST_F(FileTest, AFailedReplacementLeavesTheOldFileAndNothingElse) {
  for (const int failing_call : {1, 2}) {
    write_atomically(FileSystem::real(), directory_ / "f", "old");
    FailingFileSystem files(failing_call);
    EXPECT_EQ(error_number_of([&] { write_atomically(files, directory_ / "f", "new"); }), ENOSPC);
    EXPECT_EQ(read_file(directory_ / "f"), "old");
    EXPECT_EQ(names(), std::vector<std::string>{"f"});
  }
}

TEST_F(FileTest, AFailedSyncOfTheDirectoryIsReported) {
  FailingFileSystem files(3);
  EXPECT_EQ(error_number_of([&] { write_atomically(files, directory_ / "f", "new"); }), ENOSPC);
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Fd, ClosesWhatItOwns) {
  int number = -1;
  {
    const Fd fd(::open("/dev/null", O_RDONLY));
    number = fd.get();
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, MovesOwnership) {
  Fd from(::open("/dev/null", O_RDONLY));
  const int number = from.get();
  Fd to = std::move(from);
  EXPECT_FALSE(from);  // NOLINT(bugprone-use-after-move): what a moved-from Fd is, is the matter here
  EXPECT_EQ(to.get(), number);
  Fd other(::open("/dev/null", O_RDONLY));
  const int replaced = other.get();
  other = std::move(to);
  EXPECT_FALSE(is_open(replaced));
  EXPECT_TRUE(is_open(number));
}

TEST(Fd, GivesUpWhatIsReleased) {
  Fd fd(::open("/dev/null", O_RDONLY));
  const int number = fd.release();
  fd.reset();
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

}  // namespace
}  // namespace hogpen
