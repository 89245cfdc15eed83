#pragma once

#include <cstddef>

/// The loops of the STREAM benchmark: what memory allows, for comparison.
///
/// Results are written past the cache, without reading what they replace, as the fastest loops over large arrays do; so
/// the bytes that are moved are those that are counted: 8 n for `copy` and `scale`, 12 n for `triad`.
/// Dtypes: float32. Requires: arrays aligned to 16 bytes that do not overlap; n a multiple of 4.
/// Source: McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995.
namespace hogpen::kernels {

void stream_copy(float* a, const float* b, std::size_t n) noexcept;            ///< a[i] = b[i]
void stream_scale(float* a, const float* b, float q, std::size_t n) noexcept;  ///< a[i] = q * b[i]
void stream_triad(float* a, const float* b, const float* c, float q,
                  std::size_t n) noexcept;  ///< a[i] = b[i] + q * c[i]

}  // namespace hogpen::kernels
