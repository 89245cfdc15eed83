#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>

#include "kernels/unary_op.h"

struct CUstream_st;  // *cudaStream_t: this header needs no CUDA

/// A UnaryOp applied to each element of an array, out of place or in place. The result of an element depends neither on
/// its place in the array nor on the array's length.
///
/// Dtypes: float32, float64, bfloat16, float16; the last two are computed in float32 and rounded once, to nearest even.
/// Device: the CPU, in the widest of AVX-512, AVX2 and plain x86-64 that it has, chosen at run time; LibTorch's
/// vectorised headers with the SLEEF inside LibTorch, but for the exponential of float32 with AVX-512 and AVX2.
/// `transform_cuda`: a GPU.
/// Accuracy: in units in the last place of the exact result. float32, float64: relu, abs, negate, square, sqrt 0.5;
/// exp, log 1; tanh 2, and 3 without AVX2; sigmoid 2.5; scale_shift, whose numbers are rounded to the dtype or to
/// float32 first, one rounding where the CPU has FMA, else two. bfloat16, float16: 0.51.
/// Special values: as in IEEE 754 and <cmath>. NaN in, NaN out; exp(-inf) = 0; log(0) = -inf; log and sqrt of negative
/// numbers are NaN; sigmoid and tanh go to 0 or -1 and 1; subnormal results are not flushed.
/// Sharing: any threads, as long as nobody else writes what is read, or touches what is written.
/// Requires: `in` and `out` are the same, or do not overlap. Elements need not be aligned.
/// Throws: std::invalid_argument for another dtype.
namespace hogpen::kernels {

/// Whether `transform` knows a dtype.
[[nodiscard]] constexpr bool is_transformable(c10::ScalarType dtype) noexcept {
  return dtype == c10::ScalarType::Float || dtype == c10::ScalarType::Double || dtype == c10::ScalarType::BFloat16 ||
         dtype == c10::ScalarType::Half;
}

/// How results are written.
enum class Store {
  cached,     ///< ordinary stores: the results stay in the cache
  streaming,  ///< past the cache, which saves reading what is overwritten; for results larger than the cache
};

/// `streaming` where that many bytes are written out of place and are more than the last cache holds. Below that, what
/// stays in the cache of two arrays up to twice its size is worth more (measured: docs/design.md).
[[nodiscard]] Store best_store(const void* in, const void* out, std::size_t size_bytes);

/// Rows of elements that lie beside one another: of a matrix, or one row for an array.
struct Rows {
  const void* in = nullptr;
  void* out = nullptr;
  std::size_t width = 0;              ///< of a row, in elements
  std::size_t count = 1;              ///< of rows
  std::ptrdiff_t in_pitch_bytes = 0;  ///< from one row to the next; any, also negative or 0
  std::ptrdiff_t out_pitch_bytes = 0;
};

/// op of each element. A streaming store waits for the memory at the end of each row, which pays for long ones alone.
void transform(UnaryOp op, c10::ScalarType dtype, const Rows& rows, Store store);

/// out[i] = op(in[i]) for i < n.
void transform(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, Store store);

/// out[i * out_stride] = op(in[i * in_stride]) for i < n. Strides are in elements and may be negative or, for `in`, 0.
void transform_strided(UnaryOp op, c10::ScalarType dtype, const void* in, std::ptrdiff_t in_stride, void* out,
                       std::ptrdiff_t out_stride, std::size_t n);

/// `transform` on the GPU, asynchronous on `stream` (a cudaStream_t; null is the default stream).
///
/// Device: both pointers are memory of the current device. 16 bytes a load and store where both are equally aligned.
/// Requires: elements aligned to their size.
/// Throws: std::runtime_error with CUDA's own text when the launch fails, or when hogpen was built without CUDA.
void transform_cuda(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, CUstream_st* stream);

/// `transform` of host memory on the GPU `device`, through page-locked buffers, copies and kernels overlapping; returns
/// when it is done.
///
/// Owns: nothing that outlives the call. Throws: as `transform_cuda`, and when the GPU's memory does not suffice.
void transform_through_cuda(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, int device);

/// Whether hogpen was built with its CUDA kernels.
[[nodiscard]] bool has_cuda_kernels() noexcept;

/// How many GPUs can be used: 0 without a driver, or when hogpen was built without CUDA. Initialises CUDA: after it,
/// the process may not fork workers that use a GPU.
[[nodiscard]] int cuda_devices() noexcept;

}  // namespace hogpen::kernels
