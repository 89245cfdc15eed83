#include "kernels/transform.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/instruction_set.h"
#include "kernels/transform_simd.h"

namespace hogpen::kernels {
namespace {

std::atomic<std::uint32_t> kinds_with_mapped_constants{0};

// SLEEF loads the constants of special values under a mask that is nearly always empty. Such a load raises no page
// fault, and so maps no page; from a page that is not mapped it costs some 150 ns, each time, and a forked child has
// none of its parent's pages of a library mapped. So each op meets special values once in a process. Relaxed: who does
// it twice does no harm.
void map_constants(UnaryOp op, const TransformLoops& loops) {
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { kinds_with_mapped_constants.store(0, std::memory_order_relaxed); });
  (void)registered;
  const std::uint32_t bit = 1U << static_cast<unsigned>(op.kind);
  if ((kinds_with_mapped_constants.load(std::memory_order_relaxed) & bit) != 0) return;
  kinds_with_mapped_constants.fetch_or(bit, std::memory_order_relaxed);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::array<double, 8> special = {0,      kInfinity, -kInfinity, std::numeric_limits<double>::quiet_NaN(),
                                   1e-310, 1e300,     -1e300,     -1};
  std::array<float, 8> narrow;
  std::ranges::transform(special, narrow.begin(), [](double x) { return static_cast<float>(x); });
  narrow[4] = 1e-40F;
  loops.float32(op, {.in = narrow.data(), .out = narrow.data(), .width = narrow.size()}, Store::cached);
  loops.float64(op, {.in = special.data(), .out = special.data(), .width = special.size()}, Store::cached);
}

TransformLoop loop(UnaryOp op, c10::ScalarType dtype) {
  const TransformLoops& loops =
      for_this_cpu(DEFAULT::transform_loops, AVX2::transform_loops, AVX512::transform_loops)(op.kind);
  map_constants(op, loops);
  switch (dtype) {
    case c10::ScalarType::Float:
      return loops.float32;
    case c10::ScalarType::Double:
      return loops.float64;
    case c10::ScalarType::BFloat16:
      return loops.bfloat16;
    case c10::ScalarType::Half:
      return loops.float16;
    default:
      throw std::invalid_argument(std::string("no elementwise op for dtype ") + c10::toString(dtype));
  }
}

template <std::size_t kItemBytes>
void copy_strided(const std::byte* in, std::ptrdiff_t in_stride, std::byte* out, std::ptrdiff_t out_stride,
                  std::size_t n) {
  constexpr auto kItem = static_cast<std::ptrdiff_t>(kItemBytes);
  for (std::size_t i = 0; i < n; ++i, in += in_stride * kItem, out += out_stride * kItem) {
    std::memcpy(out, in, kItemBytes);
  }
}

void copy_strided(std::size_t item_bytes, const std::byte* in, std::ptrdiff_t in_stride, std::byte* out,
                  std::ptrdiff_t out_stride, std::size_t n) {
  switch (item_bytes) {
    case 2:
      return copy_strided<2>(in, in_stride, out, out_stride, n);
    case 4:
      return copy_strided<4>(in, in_stride, out, out_stride, n);
    default:
      return copy_strided<8>(in, in_stride, out, out_stride, n);
  }
}

// Of the last level, as one CPU sees it. sysconf would give what all sockets have together.
std::size_t cache_bytes() {
  static const std::size_t found = [] {
    for (const char* level : {"3", "2"}) {
      std::ifstream file(std::string("/sys/devices/system/cpu/cpu0/cache/index") + level + "/size");
      if (std::size_t kibibytes = 0; file >> kibibytes) return kibibytes << 10;
    }
    return std::size_t{16} << 20;
  }();
  return found;
}

}  // namespace

Store best_store(const void* in, const void* out, std::size_t size_bytes) {
  return in != out && size_bytes > cache_bytes() ? Store::streaming : Store::cached;
}

void transform(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, Store store) {
  loop(op, dtype)(op, {.in = in, .out = out, .width = n}, store);
}

void transform(UnaryOp op, c10::ScalarType dtype, const Rows& rows, Store store) {
  loop(op, dtype)(op, rows, store);
}

// Gathered into a small buffer and scattered from it: the vector loop in between is worth more than the copies cost. A
// small one, so that the loads of the next part overlap with the stores of this one.
void transform_strided(UnaryOp op, c10::ScalarType dtype, const void* in, std::ptrdiff_t in_stride, void* out,
                       std::ptrdiff_t out_stride, std::size_t n) {
  const TransformLoop body = loop(op, dtype);
  if (in_stride == 1 && out_stride == 1) return body(op, {.in = in, .out = out, .width = n}, Store::cached);
  alignas(64) std::array<std::byte, 512> buffer;
  const std::size_t item_bytes = c10::elementSize(dtype);
  const std::size_t room = buffer.size() / item_bytes;
  const auto* from = static_cast<const std::byte*>(in);
  auto* to = static_cast<std::byte*>(out);
  for (std::size_t done = 0; done < n; done += room) {
    const std::size_t count = std::min(room, n - done);
    const auto offset = static_cast<std::ptrdiff_t>(done * item_bytes);
    copy_strided(item_bytes, from + offset * in_stride, in_stride, buffer.data(), 1, count);
    body(op, {.in = buffer.data(), .out = buffer.data(), .width = count}, Store::cached);
    copy_strided(item_bytes, buffer.data(), 1, to + offset * out_stride, out_stride, count);
  }
}

}  // namespace hogpen::kernels
