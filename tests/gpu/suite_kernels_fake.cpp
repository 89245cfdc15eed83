// For the fake driver, whose memory the host can use: the kernels run on the host, when somebody waits for them. So the
// cases can be tried where there is no GPU: who waits for whom, who is killed when, and what is compared.
#include <atomic>
#include <chrono>

#include "runtime/memory/cuda_driver.h"
#include "tests/fake_cuda/fake_kernels.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {

using kernels::enqueue;

bool run_on(bool is_fake_driver) noexcept {
  return is_fake_driver;
}

void add_atomically(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream) {
  enqueue(stream, [=] {
    for (std::uint64_t i = 0; i < n * times; ++i) std::atomic_ref(cells[i % n]).fetch_add(1.0F);
  });
}

void add_plainly(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream) {
  enqueue(stream, [=] {
    volatile float* const racy = cells;
    for (std::uint64_t i = 0; i < n * times; ++i) racy[i % n] = racy[i % n] + 1.0F;
  });
}

void work_for(std::uint64_t nanoseconds, float* cell, CUstream_st* stream) {
  enqueue(stream, [=] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(nanoseconds);
    while (std::chrono::steady_clock::now() < end) std::atomic_ref(*cell).fetch_add(1.0F);
  });
}

void small_work(float* cells, CUstream_st* stream) {
  enqueue(stream, [=] {
    for (std::size_t i = 0; i < 8192; ++i) cells[i] = cells[i] * 0.999F + 0.5F;
  });
}

// At once, since the driver says what is wrong with the address; a GPU says it to who waits.
void store(float* at, float value, CUstream_st*) {
  cuda_driver().call("cuMemcpyHtoD_v2", cuda::address_of(at), static_cast<const void*>(&value), sizeof(value));
}

}  // namespace hogpen::gpu_suite
