#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // *cudaStream_t: this header needs no CUDA

/// What the cases of the GPU suite let a GPU do. All is asynchronous on `stream`, and memory is that of the current
/// device. Throws: std::runtime_error when the launch fails, or when hogpen was built without CUDA.
namespace hogpen::gpu_suite {

/// Whether these kernels run on a driver of that kind.
[[nodiscard]] bool run_on(bool is_fake_driver) noexcept;

/// Adds 1 to each of `n` cells, `times` times, in no order: by atomicAdd.
void add_atomically(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream);
/// The same by a load and a store, so that additions are lost.
void add_plainly(float* cells, std::size_t n, std::uint64_t times, CUstream_st* stream);

/// Adds 1 to `cell` again and again, for so long.
void work_for(std::uint64_t nanoseconds, float* cell, CUstream_st* stream);

/// Something to do for some ten microseconds on a small part of the GPU, as a step of a small model.
/// Requires: `cells` has 8192 of them.
void small_work(float* cells, CUstream_st* stream);

/// Stores one number, whatever the address.
void store(float* at, float value, CUstream_st* stream);

}  // namespace hogpen::gpu_suite
