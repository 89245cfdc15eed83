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

#include "kernels/transform_simd.h"
#include "tests/kernels/ulp.h"

namespace hogpen::kernels {
namespace {

struct Instructions {
  const char* name;
  const TransformLoops& (*loops)(UnaryOp::Kind);
  bool usable;
};

std::vector<Instructions> all_instructions() {
  const bool has_avx512 = std::string(transform_instructions()) == "AVX-512";
  const bool has_avx2 = has_avx512 || std::string(transform_instructions()) == "AVX2";
  return {{"DEFAULT", DEFAULT::transform_loops, true},
          {"AVX2", AVX2::transform_loops, has_avx2},
          {"AVX512", AVX512::transform_loops, has_avx512}};
}

template <class T>
TransformLoop loop_of(const TransformLoops& loops) {
  if constexpr (std::is_same_v<T, float>) return loops.float32;
  if constexpr (std::is_same_v<T, double>) return loops.float64;
  if constexpr (std::is_same_v<T, c10::BFloat16>) return loops.bfloat16;
  if constexpr (std::is_same_v<T, c10::Half>) return loops.float16;
}

template <class T>
using Bits =
    std::conditional_t<sizeof(T) == 8, std::uint64_t, std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>>;

template <class T>
T from_bits(std::uint64_t bits) {
  return std::bit_cast<T>(static_cast<Bits<T>>(bits));
}

// All bit patterns of 16-bit types; of the others a million, spread evenly over all of them, and those where an op does
// something of its own.
template <class T>
std::vector<T> representative_values() {
  std::vector<T> values;
  constexpr int kBits = 8 * sizeof(T);
  constexpr std::uint64_t kStep = kBits == 16 ? 1 : ((std::uint64_t{1} << (kBits - 20)) | 1);
  constexpr std::uint64_t kCount = std::uint64_t{1} << (kBits == 16 ? 16 : 20);
  for (std::uint64_t i = 0; i < kCount; ++i) values.push_back(from_bits<T>(i * kStep));
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float x :
       {0.0F,   1.0F,   0.5F,   2.0F,   10.0F,  20.0F,  44.0F,     87.3F,
        88.72F, 88.73F, 90.0F,  103.9F, 104.0F, 110.0F, 709.78F,   709.79F,
        745.2F, 1e-40F, 1e-30F, 3e4F,   6.5e4F, 1e38F,  kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    values.push_back(static_cast<T>(x));
    values.push_back(static_cast<T>(-x));
  }
  return values;
}

const std::vector<UnaryOp>& all_ops() {
  static const std::vector<UnaryOp> ops = [] {
    std::vector<UnaryOp> list;
    for (const NamedUnaryOp& named : kUnaryOps) list.push_back({.kind = named.kind});
    list.back().scale = 1.7;
    list.back().shift = -0.3;
    return list;
  }();
  return ops;
}

// The sum of scale_shift may cancel, so its error is bounded by two roundings of its terms and not of the result.
template <class T>
bool is_accurate(UnaryOp op, bool is_libm, T x, T result) {
  const auto wanted = exact<T>(op, x);
  if (ulps_between<T>(result, wanted) <= allowed_ulps<T>(op.kind, is_libm)) return true;
  if (op.kind != UnaryOp::Kind::scale_shift) return false;
  UnaryOp only_scale = op;
  only_scale.shift = 0;
  const double product = std::fabs(static_cast<double>(exact<T>(only_scale, x)));
  const double unit = std::ldexp(product + std::fabs(op.shift), -(std::is_same_v<T, double> ? 53 : 24));
  return std::fabs(static_cast<double>(result) - static_cast<double>(wanted)) <=
         unit + std::ldexp(std::fabs(static_cast<double>(wanted)), -kDigits<T>);
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
    loop(op, in.data(), out.data(), in.size(), Store::cached);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < in.size() && wrong < 5; ++i) {
      if (is_accurate<T>(op, is_libm, in[i], out[i])) continue;
      ++wrong;
      ADD_FAILURE() << static_cast<double>(in[i]) << " gave " << static_cast<double>(out[i]) << " instead of "
                    << static_cast<double>(exact<T>(op, in[i]));
    }
  });
}

template <class T>
std::vector<T> some_values(std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(0.25F + static_cast<float>(i % 29));
  return values;
}

template <class T>
bool same_bits(const T* a, const T* b, std::size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;
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
    for (std::size_t i = 0; i < kMost; ++i) loop(op, &values[i], &wanted[i], 1, Store::cached);
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
            loop(op, from, to, n, store);
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
                transform_instructions(), worst_at.load());
    if (op.kind == UnaryOp::Kind::scale_shift) continue;
    EXPECT_LE(worst, allowed_ulps<float>(op.kind, std::string(transform_instructions()) == "x86-64")) << name_of(op);
  }
}

}  // namespace
}  // namespace hogpen::kernels
