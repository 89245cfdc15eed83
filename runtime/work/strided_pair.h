#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>

#include "kernels/transform.h"

namespace hogpen {

/// The elements of two tensors of one shape and dtype, walked together: as few dimensions as their strides allow, the
/// one that is nearest in memory last.
///
/// Device: the CPU. Sharing: a value. Owns: nothing; the tensors must live as long.
class StridedPair {
 public:
  StridedPair(const at::Tensor& in, const at::Tensor& out);

  [[nodiscard]] std::uint64_t numel() const noexcept { return numel_; }
  /// out = op(in) for the elements [begin, end), counted in the order of the walk.
  void transform(kernels::UnaryOp op, std::uint64_t begin, std::uint64_t end) const;

 private:
  struct Dim {
    std::int64_t size;
    std::int64_t in_stride;   // in elements
    std::int64_t out_stride;  // in elements
  };

  void merge_dims();
  void transform_run(kernels::UnaryOp op, std::int64_t in_offset, std::int64_t out_offset, std::uint64_t count) const;
  void transform_rows(kernels::UnaryOp op, std::int64_t in_offset, std::int64_t out_offset, std::uint64_t rows) const;

  const std::byte* in_;
  std::byte* out_;
  std::uint64_t numel_;
  c10::ScalarType dtype_;
  std::int64_t item_bytes_;
  kernels::Store store_;
  c10::SmallVector<Dim, 4> dims_;
};

}  // namespace hogpen
