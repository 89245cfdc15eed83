#include "kernels/reduce.h"

#include <algorithm>
#include <array>

namespace hogpen::kernels {
namespace {

// As many as stay in the first-level cache beside what is read.
constexpr std::size_t kBlock = 1024;

}  // namespace

template <class T>
void sum_into_all(std::span<T* const> arrays, std::size_t numel, T divisor) {
  std::array<T, kBlock> sums;
  for (std::size_t begin = 0; begin < numel; begin += kBlock) {
    const std::size_t count = std::min(kBlock, numel - begin);
    std::fill_n(sums.begin(), count, T{0});
    for (const T* array : arrays) {
      for (std::size_t i = 0; i < count; ++i) sums[i] += array[begin + i];
    }
    if (divisor != T{1}) {
      for (std::size_t i = 0; i < count; ++i) sums[i] /= divisor;
    }
    for (T* array : arrays) std::copy_n(sums.begin(), count, array + begin);
  }
}

template void sum_into_all<float>(std::span<float* const>, std::size_t, float);
template void sum_into_all<double>(std::span<double* const>, std::size_t, double);

}  // namespace hogpen::kernels
