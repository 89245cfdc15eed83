#include <cuda_runtime.h>

#include "kernels/cuda_check.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 128;
constexpr unsigned kSmallBlocks = 32;  // with 256 threads: the 8192 cells of small_work
constexpr int kSmallRounds = 4000;

/// f(i) for each i < n, by the threads of a grid.
template <class F>
__device__ void for_each(std::uint64_t n, const F& f) {
  const std::uint64_t threads = gridDim.x * std::uint64_t{blockDim.x};
  for (std::uint64_t i = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; i < n; i += threads) f(i);
}

__global__ void add_atomically_kernel(float* cells, std::size_t n, std::uint64_t adds) {
  for_each(adds, [&](std::uint64_t i) { atomicAdd(cells + i % n, 1.0F); });
}

__global__ void add_plainly_kernel(volatile float* cells, std::size_t n, std::uint64_t adds) {
  for_each(adds, [&](std::uint64_t i) { cells[i % n] = cells[i % n] + 1.0F; });
}

__device__ std::uint64_t nanoseconds_now() {
  std::uint64_t now = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

__global__ void work_for_kernel(std::uint64_t nanoseconds, volatile float* cell) {
  const std::uint64_t begin = nanoseconds_now();
  while (nanoseconds_now() - begin < nanoseconds) *cell = *cell + 1.0F;
}

__global__ void small_work_kernel(float* cells) {
  float& cell = cells[blockIdx.x * blockDim.x + threadIdx.x];
  float value = cell;
  for (int i = 0; i < kSmallRounds; ++i) value = value * 0.999F + 0.5F;
  cell = value;
}

__global__ void store_kernel(volatile float* at, float value) {
  *at = value;
}

void launched(const char* what) {
  kernels::detail::cuda_ok(cudaGetLastError(), what);
}

}  // namespace

bool run_on(bool is_fake_driver) noexcept {
  return !is_fake_driver;
}

void add_atomically(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream) {
  add_atomically_kernel<<<kBlocks, kThreads, 0, stream>>>(cells, n, n * times);
  launched("launch of atomic additions");
}

void add_plainly(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream) {
  add_plainly_kernel<<<kBlocks, kThreads, 0, stream>>>(cells, n, n * times);
  launched("launch of plain additions");
}

void work_for(std::uint64_t nanoseconds, float* cell, CUstream_st* stream) {
  work_for_kernel<<<1, 1, 0, stream>>>(nanoseconds, cell);
  launched("launch of long work");
}

void small_work(float* cells, CUstream_st* stream) {
  small_work_kernel<<<kSmallBlocks, kThreads, 0, stream>>>(cells);
  launched("launch of small work");
}

void store(float* at, float value, CUstream_st* stream) {
  store_kernel<<<1, 1, 0, stream>>>(at, value);
  launched("launch of a store");
}

}  // namespace hogpen::gpu_suite
