#include "kernels/transform.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "kernels/instruction_set.h"
#include "kernels/transform_simd.h"
#include "tests/kernels/transform_values.h"

namespace hogpen::kernels {
namespace {

struct Instructions {
  const char* name;
  const TransformLoops& (*loops)(UnaryOp::Kind);
  bool usable;
};

std::vector<Instructions> all_instructions() {
  return {{"DEFAULT", DEFAULT::transform_loops, true},
          {"AVX2", AVX2::transform_loops, instruction_set() >= InstructionSet::avx2},
          {"AVX512", AVX512::transform_loops, instruction_set() >= InstructionSet::avx512}};
}

template <class T>
TransformLoop loop_of(const TransformLoops& loops) {
  if constexpr (std::is_same_v<T, float>) return loops.float32;
  if constexpr (std::is_same_v<T, double>) return loops.float64;
  if constexpr (std::is_same_v<T, c10::BFloat16>) return loops.bfloat16;
  if constexpr (std::is_same_v<T, c10::Half>) return loops.float16;
}

template <class T>
class Transform : public testing::Test {
 protected:
  /// Calls test(loop, op) for each op and each instruction set of this CPU.
  template <class F>
  static void for_each_loop(const F& test) {
    for (const Instructions& instructions : all_instructions()) {
      if (!instructions.usable) continue;
      for (const UnaryOp& op : all_ops()) {
        SCOPED_TRACE(std::string(instructions.name) + " " + std::string(name_of(op)));
        test(loop_of<T>(instructions.loops(op.kind)), op);
      }
    }
  }
};

using Dtypes = testing::Types<float, double, c10::BFloat16, c10::Half>;
TYPED_TEST_SUITE(Transform, Dtypes);

TYPED_TEST(Transform, IsWithinTheStatedUlpsOfTheReference) {
  using T = TypeParam;
  const std::vector<T> in = representative_values<T>();
  std::vector<T> out(in.size());
  this->for_each_loop([&](TransformLoop loop, UnaryOp op) {
    const bool is_libm = loop == loop_of<T>(DEFAULT::transform_loops(op.kind));
    loop(op, {.in = in.data(), .out = out.data(), .width = in.size()}, Store::cached);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < in.size() && wrong < 5; ++i) {
      if (is_accurate<T>(op, is_libm, in[i], out[i])) continue;
      ++wrong;
      ADD_FAILURE() << static_cast<double>(in[i]) << " gave " << static_cast<double>(out[i]) << " instead of "
                    << static_cast<double>(exact<T>(op, in[i]));
    }
  });
}

// Every length around a vector, every misalignment in bytes, both kinds of stores, out of place and in place: the bits
// of the element by itself, and not a byte beside the array.
TYPED_TEST(Transform, NeitherLengthNorAlignmentMatters) {
  using T = TypeParam;
  constexpr std::size_t kMost = 3 * 64 / sizeof(T) + 1;
  constexpr std::size_t kRoom = kMost * sizeof(T) + 4 * 64;
  static constexpr auto kMark = std::byte{0xA5};
  const std::vector<T> values = some_values<T>(kMost);
  this->for_each_loop([&](TransformLoop loop, UnaryOp op) {
    std::vector<T> wanted(kMost);
    for (std::size_t i = 0; i < kMost; ++i) loop(op, {.in = &values[i], .out = &wanted[i], .width = 1}, Store::cached);
    alignas(64) std::array<std::byte, kRoom> in;
    alignas(64) std::array<std::byte, kRoom> out;
    for (std::size_t n = 0; n <= kMost; ++n) {
      for (const std::size_t offset : {0UL, sizeof(T), std::size_t{1}, 32UL, 64 - sizeof(T), std::size_t{63}}) {
        for (const Store store : {Store::cached, Store::streaming}) {
          for (const bool in_place : {false, true}) {
            out.fill(kMark);
            std::byte* const to = out.data() + 64 + offset;
            std::byte* const from = in_place ? to : in.data() + 64 + (offset * 3) % 64;
            if (n != 0) std::memcpy(from, values.data(), n * sizeof(T));
            loop(op, {.in = from, .out = to, .width = n}, store);
            const bool is_right = n == 0 || std::memcmp(to, wanted.data(), n * sizeof(T)) == 0;
            const bool is_whole =
                std::all_of(out.data(), to, [](std::byte b) { return b == kMark; }) &&
                std::all_of(to + n * sizeof(T), out.data() + kRoom, [](std::byte b) { return b == kMark; });
            ASSERT_TRUE(is_right && is_whole) << n << " elements, offset " << offset << ", in place " << in_place;
          }
        }
      }
    }
  });
}

// Vectors of ordinary numbers alone may go a shorter way: with a bit of every kind beside it, an element stays the
// same.
TYPED_TEST(Transform, WhatStandsBesideAnElementDoesNotMatter) {
  using T = TypeParam;
  const std::vector<T> values = representative_values<T>();
  std::vector<T> mixed;
  for (std::size_t i = 0; i < values.size(); i += 7) mixed.push_back(values[i * 7919 % values.size()]);
  for (std::size_t i = 1; i <= 48; ++i) mixed.push_back(values[values.size() - i]);
  std::vector<T> out(mixed.size());
  this->for_each_loop([&](TransformLoop loop, UnaryOp op) {
    loop(op, {.in = mixed.data(), .out = out.data(), .width = mixed.size()}, Store::cached);
    for (std::size_t i = 0; i < mixed.size(); ++i) {
      T alone;
      loop(op, {.in = &mixed[i], .out = &alone, .width = 1}, Store::cached);
      ASSERT_TRUE(same_bits(&out[i], &alone, 1)) << static_cast<double>(mixed[i]);
    }
  });
}

TYPED_TEST(Transform, StridesAreElements) {
  using T = TypeParam;
  constexpr auto kDtype = c10::CppTypeToScalarType<T>::value;
  constexpr std::size_t kCount = 5001;  // more than the buffer in between holds
  const std::vector<T> values = some_values<T>(3 * kCount);
  const UnaryOp op{.kind = UnaryOp::Kind::square};
  std::vector<T> all(values.size());
  transform(op, kDtype, values.data(), all.data(), all.size(), Store::cached);
  std::vector<T> out(2 * kCount, static_cast<T>(-1.0F));
  transform_strided(op, kDtype, values.data() + 1, 3, out.data(), 2, kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(same_bits(&out[2 * i], &all[3 * i + 1], 1)) << i;
    ASSERT_EQ(static_cast<float>(out[2 * i + 1]), -1.0F) << i;
  }
  transform_strided(op, kDtype, values.data() + kCount - 1, -1, out.data(), 1, kCount);
  for (std::size_t i = 0; i < kCount; ++i) ASSERT_TRUE(same_bits(&out[i], &all[kCount - 1 - i], 1)) << i;
  transform_strided(op, kDtype, values.data() + 5, 0, out.data(), 1, kCount);
  for (std::size_t i = 0; i < kCount; ++i) ASSERT_TRUE(same_bits(&out[i], &all[5], 1)) << i;
}

TYPED_TEST(Transform, RowsLieAnyDistanceApart) {
  using T = TypeParam;
  constexpr auto kDtype = c10::CppTypeToScalarType<T>::value;
  const UnaryOp op{.kind = UnaryOp::Kind::square};
  const std::vector<T> values = some_values<T>(1000);
  std::vector<T> squares(values.size());
  transform(op, kDtype, values.data(), squares.data(), squares.size(), Store::cached);
  for (const std::size_t width : {0U, 1U, 7U, 16U, 37U}) {
    for (const Store store : {Store::cached, Store::streaming}) {
      std::vector<T> out(values.size(), static_cast<T>(-1.0F));
      // From the last of 20 rows of 50 elements to the first, into rows of 41.
      transform(op, kDtype,
                {.in = &values[950],
                 .out = out.data(),
                 .width = width,
                 .count = 20,
                 .in_pitch_bytes = -50 * static_cast<std::ptrdiff_t>(sizeof(T)),
                 .out_pitch_bytes = 41 * static_cast<std::ptrdiff_t>(sizeof(T))},
                store);
      for (std::size_t row = 0; row < 20; ++row) {
        EXPECT_TRUE(same_bits(&out[41 * row], &squares[950 - 50 * row], width)) << width << ", row " << row;
        EXPECT_TRUE(
            std::all_of(&out[41 * row + width], &out[41 * row + 41], [](T x) { return static_cast<float>(x) == -1; }));
      }
    }
  }
}

TEST(TransformArguments, AnotherDtypeIsRefusedByName) {
  int number = 1;
  try {
    transform({}, c10::ScalarType::Int, &number, &number, 1, Store::cached);
    FAIL() << "nothing was thrown";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("Int"), std::string::npos) << error.what();
  }
}

// An array of which all but the end is the same memory again and again.
class RepeatedArray {
 public:
  RepeatedArray() {
    fd_ = ::memfd_create("repeated", MFD_CLOEXEC);
    EXPECT_EQ(::ftruncate(fd_, 2 * kPiece), 0);
    address_ = static_cast<std::byte*>(
        ::mmap(nullptr, kPieces * kPiece, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    EXPECT_NE(address_, MAP_FAILED);
    for (std::size_t i = 0; i < kPieces; ++i) {
      const auto offset = static_cast<off_t>(i + 1 == kPieces ? kPiece : 0);
      void* const piece = address_ + i * kPiece;
      EXPECT_EQ(::mmap(piece, kPiece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_, offset), piece);
    }
  }
  RepeatedArray(const RepeatedArray&) = delete;
  RepeatedArray& operator=(const RepeatedArray&) = delete;
  ~RepeatedArray() {
    ::munmap(address_, kPieces * kPiece);
    ::close(fd_);
  }
  static constexpr std::size_t kPiece = std::size_t{4} << 20;
  static constexpr std::size_t kPieces = 2 * 1024 + 1;  // of 2^21 elements of two bytes: 2^32 and one piece
  [[nodiscard]] c10::BFloat16* data() const { return reinterpret_cast<c10::BFloat16*>(address_); }

 private:
  int fd_ = -1;
  std::byte* address_ = nullptr;
};

TEST(TransformArguments, MoreThan2To32Elements) {
#ifdef HOGPEN_SANITIZED
  GTEST_SKIP() << "a sanitizer's own memory is not repeated: it would take gigabytes";
#endif
  const RepeatedArray in;
  const RepeatedArray out;
  constexpr std::size_t kPiece = RepeatedArray::kPiece / sizeof(c10::BFloat16);
  constexpr std::size_t kBegin = kPiece * (RepeatedArray::kPieces - 1);
  static_assert(kBegin == std::size_t{1} << 32);
  std::fill_n(in.data() + kBegin, kPiece, c10::BFloat16(3.0F));
  const std::size_t n = kBegin + kPiece - 1;
  transform({.kind = UnaryOp::Kind::square}, c10::ScalarType::BFloat16, in.data(), out.data(), n, Store::cached);
  EXPECT_TRUE(std::all_of(out.data() + kBegin, out.data() + n, [](c10::BFloat16 x) { return x == 9.0F; }));
  EXPECT_EQ(out.data()[n], 0.0F);
  EXPECT_EQ(out.data()[0], 0.0F);
}

// All 2^32 floats. Not part of every run: --gtest_also_run_disabled_tests, about a minute a core and op.
TEST(TransformSurvey, DISABLED_AllFloats) {
  constexpr std::uint64_t kBlock = 1 << 20;
  constexpr std::uint64_t kBlocks = (std::uint64_t{1} << 32) / kBlock;
  for (const UnaryOp& op : all_ops()) {
    std::atomic<std::uint64_t> next{0};
    std::atomic<double> worst{0};
    std::atomic<double> worst_at{0};
    const auto survey = [&] {
      std::vector<float> in(kBlock);
      std::vector<float> out(kBlock);
      for (std::uint64_t block = next++; block < kBlocks; block = next++) {
        for (std::uint64_t i = 0; i < kBlock; ++i) in[i] = from_bits<float>(block * kBlock + i);
        transform(op, c10::ScalarType::Float, in.data(), out.data(), kBlock, Store::cached);
        for (std::uint64_t i = 0; i < kBlock; ++i) {
          const double ulps = ulps_between<float>(out[i], exact<float>(op, in[i]));
          double seen = worst;
          while (ulps > seen && !worst.compare_exchange_weak(seen, ulps)) {
          }
          if (ulps > seen) worst_at = in[i];
        }
      }
    };
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) threads.emplace_back(survey);
    threads.clear();
    std::printf("%-12s at most %.4f ulp (%s), at %.9g\n", std::string(name_of(op)).c_str(), worst.load(),
                name_of(instruction_set()), worst_at.load());
    if (op.kind == UnaryOp::Kind::scale_shift) continue;
    EXPECT_LE(worst, allowed_ulps<float>(op.kind, instruction_set() == InstructionSet::x86_64)) << name_of(op);
  }
}

}  // namespace
}  // namespace hogpen::kernels
