#pragma once

#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hogpen {

/// The header of an NPY file, the format of `numpy.save`. Its data is one array without holes, from `data_begin` to the
/// file's end.
///
/// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0, 2.0 and 3.0.
struct NpyHeader {
  std::string descr;  ///< the dtype as the file writes it: "<f4"
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<std::int64_t> shape;  ///< empty for a single number
  bool fortran_order = false;       ///< the first index runs fastest, not the last
  std::size_t data_begin = 0;       ///< file offset

  [[nodiscard]] std::int64_t numel() const noexcept;
};

/// Whether a file begins as NPY files do.
[[nodiscard]] bool is_npy(std::span<const std::byte> file) noexcept;

/// Reads and checks the header at the start of `file` (the whole file, mapped or read). `name` is for errors.
///
/// Dtypes: little-endian float16, float32, float64, and integers and bool that LibTorch has.
/// Throws: FormatError with the byte of the trouble: no NPY, another version, no header of the three known keys,
/// another dtype, a shape of more than 64 sizes, shape × dtype unlike the file's size.
[[nodiscard]] NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& name);

}  // namespace hogpen
