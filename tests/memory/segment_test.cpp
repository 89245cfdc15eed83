#include "runtime/memory/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/memory/limits.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

auto open_descriptors() {
  return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
}

bool is_mapped(const std::string& label) {
  return read_file("/proc/self/maps").find(label) != std::string::npos;
}

Fd duplicate(const Segment& segment) {
  return Fd(syscall_ok(::dup(segment.fd()), "dup"));
}

TEST(Segment, BeginsAsZeroesAndHoldsWhatIsWritten) {
  const Segment segment = Segment::create("zeroes", 10'000);
  ASSERT_EQ(segment.size_bytes(), 10'000);
  EXPECT_TRUE(std::ranges::all_of(segment.bytes(), [](std::byte b) { return b == std::byte{0}; }));
  segment.data()[9'999] = std::byte{7};
  EXPECT_EQ(segment.bytes().back(), std::byte{7});
}

TEST(Segment, OfOneByteIsASegment) {
  EXPECT_EQ(Segment::create("byte", 1).size_bytes(), 1);
}

constexpr std::size_t kHugePage = std::size_t{2} << 20;

TEST(Segment, BeginsWhereAHugePageCouldAndTakesNoMoreAddressesThanItNeeds) {
  const Segment large = Segment::create("large", 2 * kHugePage + 100);
  const auto begin = reinterpret_cast<std::uintptr_t>(large.data());
  EXPECT_EQ(begin % kHugePage, 0U);
  const std::string maps = read_file("/proc/self/maps");
  EXPECT_NE(maps.find(fmt::format("{:x}-{:x} ", begin, begin + 2 * kHugePage + 4096)), std::string::npos) << maps;
}

TEST(Segment, KeepsItsBytesInHugePagesAlsoForAChild) {
  const Segment segment = Segment::create("huge", 2 * kHugePage + 100);
  for (std::size_t i = 0; i < segment.size_bytes(); i += 1000) segment.data()[i] = static_cast<std::byte>(i / 1000);
  const std::size_t huge = segment.mapping()->use_huge_pages();
  if (huge == 0) GTEST_SKIP() << "this system gives no huge pages";
  EXPECT_EQ(huge, 2 * kHugePage);
  const auto is_as_written = [&] {
    for (std::size_t i = 0; i < segment.size_bytes(); i += 1000) {
      if (segment.data()[i] != static_cast<std::byte>(i / 1000)) return false;
    }
    return true;
  };
  EXPECT_TRUE(is_as_written());
  EXPECT_EQ(exit_code_of_child([&] { return is_as_written() ? 0 : 1; }), 0);
}

TEST(Segment, SmallerThanAHugePageLiesInNone) {
  EXPECT_EQ(Segment::create("small", kHugePage - 1).mapping()->use_huge_pages(), 0U);
}

TEST(Segment, IsMappedAtOnceByPrefault) {
  const Segment segment = Segment::create("prefault", 64 * 4096);
  const auto resident_kib = [] {
    const std::string maps = read_file("/proc/self/smaps");
    return std::stol(maps.substr(maps.find("Rss:", maps.find("hogpen:prefault")) + 4));
  };
  EXPECT_EQ(resident_kib(), 0);
  segment.mapping()->prefault();
  EXPECT_EQ(resident_kib(), 64 * 4);
}

TEST(Segment, AChildsWriteIsSeenByItsParent) {
  const Segment segment = Segment::create("up", 4096);
  EXPECT_EQ(exit_code_of_child([&] {
              segment.data()[100] = std::byte{42};
              return 0;
            }),
            0);
  EXPECT_EQ(segment.data()[100], std::byte{42});
}

TEST(Segment, AParentsWriteAfterTheForkIsSeenByItsChild) {
  const Segment segment = Segment::create("down", 4096);
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char token = 0;
    const bool told = ::read(go[0], &token, 1) == 1;
    ::_exit(told && segment.data()[5] == std::byte{9} ? 0 : 1);
  }
  segment.data()[5] = std::byte{9};
  EXPECT_EQ(::write(go[1], "x", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ::close(go[0]);
  ::close(go[1]);
}

TEST(Segment, AttachedByDescriptorIsTheSameMapping) {
  const Segment segment = Segment::create("attach", 8192);
  const Segment other = Segment::attach(duplicate(segment));
  EXPECT_EQ(other.data(), segment.data());
  EXPECT_EQ(other.size_bytes(), 8192);
  segment.data()[8191] = std::byte{1};
  other.data()[0] = std::byte{2};
  EXPECT_EQ(other.data()[8191], std::byte{1});
  EXPECT_EQ(segment.data()[0], std::byte{2});
}

TEST(Segment, OutlivesItsMakerAsLongAsAnotherHoldsIt) {
  Segment segment = Segment::create("first", 4096);
  segment.data()[0] = std::byte{3};
  const Segment other = Segment::attach(duplicate(segment));
  {
    const Segment gone = std::move(segment);
  }
  EXPECT_EQ(other.data()[0], std::byte{3});
}

TEST(Segment, AttachedReadOnlyCannotBeWritten) {
  const Segment segment = Segment::create("read-only", 4096);
  segment.data()[0] = std::byte{5};
  const Segment view = Segment::attach(duplicate(segment), Segment::Access::read_only);
  EXPECT_EQ(view.data()[0], std::byte{5});
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would exit instead
    view.data()[0] = std::byte{6};
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(Segment, CannotChangeItsSizeNorItsSeals) {
  const Segment segment = Segment::create("sealed", 4096);
  EXPECT_EQ(::ftruncate(segment.fd(), 100), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(segment.fd(), 8192), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(segment.fd(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(Segment, HasAllItsMemoryFromTheStart) {
  const Segment segment = Segment::create("filled", 1 << 20);
  struct ::stat status{};
  ASSERT_EQ(::fstat(segment.fd(), &status), 0);
  EXPECT_EQ(status.st_blocks * 512, 1 << 20);
}

TEST(Segment, ShowsItsLabelInTheMaps) {
  const Segment segment = Segment::create("a label to find", 4096);
  EXPECT_TRUE(is_mapped("hogpen:a label to find"));
}

TEST(Segment, TakesALabelOfAnyLength) {
  EXPECT_NO_THROW((void)Segment::create("", 1));
  EXPECT_NO_THROW((void)Segment::create(std::string(5000, 'x'), 1));
}

TEST(Segment, IsNotInheritedByAnotherProgram) {
  const Segment segment = Segment::create("close-on-exec", 1);
  EXPECT_NE(::fcntl(segment.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Segment, OfNoBytesIsAUsageError) {
  EXPECT_THROW((void)Segment::create("nothing", 0), UsageError);
}

TEST(Segment, LargerThanWhatIsAvailableIsENOMEMBeforeAnyMemoryIsTaken) {
  const auto descriptors = open_descriptors();
  const std::uint64_t before = memory_limit().available_bytes;
  for (const std::uint64_t asked : {before * 2, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    try {
      (void)Segment::create("too large", asked);
      FAIL() << "must throw";
    } catch (const SystemError& error) {
      EXPECT_EQ(error.error_number(), ENOMEM);
      EXPECT_NE(std::string(error.what()).find("available by"), std::string::npos) << "not what fallocate says";
      EXPECT_FALSE(error.hint().empty());
    }
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST(Segment, AFileSizeLimitIsAnErrorAndNotADeathBySignal) {
  const int exit_code = exit_code_of_child([] {
    const ::rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    (void)Segment::create("fits", 4096);
    try {
      (void)Segment::create("too large", 4097);
      return 1;
    } catch (const SystemError& error) {
      return error.error_number() == EFBIG && error.hint().find("ulimit -f") != std::string::npos ? 0 : 2;
    }
  });
  EXPECT_EQ(exit_code, 0);
}

TEST(Segment, RefusesToAttachToWhatIsNoSealedMemory) {
  const fs::path path = fs::temp_directory_path() / fmt::format("hogpen-segment-test-{}", ::getpid());
  write_atomically(FileSystem::real(), path, "a plain file");
  EXPECT_THROW((void)Segment::attach(Fd(::open(path.c_str(), O_RDWR))), UsageError);
  fs::remove(path);
  EXPECT_THROW((void)Segment::attach(Fd(::open("/dev/null", O_RDWR))), UsageError);
  EXPECT_THROW((void)Segment::attach(Fd()), SystemError);
  Fd unsealed(::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 4096), 0);
  EXPECT_THROW((void)Segment::attach(std::move(unsealed)), UsageError);
}

TEST(Segment, LeavesNoDescriptorAndNoMappingBehind) {
  const auto descriptors = open_descriptors();
  for (int i = 0; i < 10; ++i) {
    Segment segment = Segment::create("leak test", 4096);
    Segment other = Segment::attach(duplicate(segment));
    Segment moved = std::move(segment);
    moved = std::move(other);
    EXPECT_TRUE(is_mapped("leak test"));
  }
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_FALSE(is_mapped("leak test"));
}

TEST(Segment, LeavesNothingBehindWhenAttachingFails) {
  const auto descriptors = open_descriptors();
  EXPECT_THROW((void)Segment::attach(Fd(::open("/dev/zero", O_RDWR))), UsageError);
  EXPECT_EQ(open_descriptors(), descriptors);
}

}  // namespace
}  // namespace hogpen
