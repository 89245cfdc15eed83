#include "runtime/work/strided_pair.h"

#include <algorithm>
#include <cstdlib>

namespace hogpen {
StridedPair::StridedPair(const at::Tensor& in, const at::Tensor& out)
    : in_(static_cast<const std::byte*>(in.const_data_ptr())),
      out_(static_cast<std::byte*>(out.mutable_data_ptr())),
      numel_(static_cast<std::uint64_t>(in.numel())),
      dtype_(in.scalar_type()),
      item_bytes_(static_cast<std::int64_t>(in.element_size())),
      store_(kernels::best_store(in_, out_, numel_ * in.element_size())) {
  if (in.is_contiguous() && out.is_contiguous()) {
    dims_.push_back({in.numel(), 1, 1});
    return;
  }
  for (std::int64_t i = 0; i < in.dim(); ++i) {
    if (in.size(i) != 1) dims_.push_back({in.size(i), in.stride(i), out.stride(i)});
  }
  merge_dims();
}

void StridedPair::merge_dims() {
  std::stable_sort(dims_.begin(), dims_.end(), [](const Dim& a, const Dim& b) {
    return a.out_stride != b.out_stride ? a.out_stride > b.out_stride : a.in_stride > b.in_stride;
  });
  c10::SmallVector<Dim, 4> merged;
  for (const Dim& dim : dims_) {
    const bool continues = !merged.empty() && merged.back().in_stride == dim.in_stride * dim.size &&
                           merged.back().out_stride == dim.out_stride * dim.size;
    if (continues) {
      merged.back() = {merged.back().size * dim.size, dim.in_stride, dim.out_stride};
    } else {
      merged.push_back(dim);
    }
  }
  dims_ = std::move(merged);
  if (dims_.empty()) dims_.push_back({1, 1, 1});
}

/// Elements of one row.
void StridedPair::transform_run(kernels::UnaryOp op, std::int64_t in_offset, std::int64_t out_offset,
                                std::uint64_t count) const {
  const Dim& dim = dims_.back();
  const std::byte* in = in_ + in_offset * item_bytes_;
  std::byte* out = out_ + out_offset * item_bytes_;
  if (dim.in_stride == 1 && dim.out_stride == 1) {
    kernels::transform(op, dtype_, in, out, count, store_);
  } else {
    kernels::transform_strided(op, dtype_, in, dim.in_stride, out, dim.out_stride, count);
  }
}

/// Whole rows, of elements that lie beside one another.
void StridedPair::transform_rows(kernels::UnaryOp op, std::int64_t in_offset, std::int64_t out_offset,
                                 std::uint64_t rows) const {
  constexpr std::uint64_t kLeastStreamedBytes = 16384;
  const auto width = static_cast<std::uint64_t>(dims_.back().size);
  const Dim& next = dims_[dims_.size() - 2];
  const bool is_long = width * static_cast<std::uint64_t>(item_bytes_) >= kLeastStreamedBytes;
  kernels::transform(op, dtype_,
                     {.in = in_ + in_offset * item_bytes_,
                      .out = out_ + out_offset * item_bytes_,
                      .width = width,
                      .count = rows,
                      .in_pitch_bytes = next.in_stride * item_bytes_,
                      .out_pitch_bytes = next.out_stride * item_bytes_},
                     is_long ? store_ : kernels::Store::cached);
}

void StridedPair::transform(kernels::UnaryOp op, std::uint64_t begin, std::uint64_t end) const {
  const Dim& inner = dims_.back();
  const auto width = static_cast<std::uint64_t>(inner.size);
  const bool has_rows = dims_.size() > 1 && inner.in_stride == 1 && inner.out_stride == 1;
  while (begin < end) {
    // Where element `begin` lies, how many of its row follow, and how many whole rows.
    std::uint64_t rest = begin / width;
    const std::uint64_t first = begin % width;
    auto in_offset = static_cast<std::int64_t>(first) * inner.in_stride;
    auto out_offset = static_cast<std::int64_t>(first) * inner.out_stride;
    std::uint64_t rows = 1;
    for (std::size_t i = dims_.size() - 1; i-- > 0;) {
      const auto size = static_cast<std::uint64_t>(dims_[i].size);
      const auto index = static_cast<std::int64_t>(rest % size);
      if (i + 2 == dims_.size()) rows = size - rest % size;
      rest /= size;
      in_offset += index * dims_[i].in_stride;
      out_offset += index * dims_[i].out_stride;
    }
    rows = std::min(rows, (end - begin) / width);
    if (has_rows && first == 0 && rows > 0) {
      transform_rows(op, in_offset, out_offset, rows);
      begin += rows * width;
    } else {
      const std::uint64_t count = std::min(width - first, end - begin);
      transform_run(op, in_offset, out_offset, count);
      begin += count;
    }
  }
}

}  // namespace hogpen
