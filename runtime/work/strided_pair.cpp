#include "runtime/work/strided_pair.h"

#include <algorithm>
#include <cstdlib>

namespace hogpen {
namespace {

constexpr std::uint64_t kLeastStreamedBytes = 16384;

}  // namespace

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

void StridedPair::transform_run(kernels::UnaryOp op, std::int64_t in_offset, std::int64_t out_offset,
                                std::uint64_t count) const {
  const Dim& dim = dims_.back();
  const std::byte* in = in_ + in_offset * item_bytes_;
  std::byte* out = out_ + out_offset * item_bytes_;
  if (dim.in_stride == 1 && dim.out_stride == 1) {
    // A streaming store in each short row would wait for the memory at the row's end.
    const bool is_long = count * static_cast<std::uint64_t>(item_bytes_) >= kLeastStreamedBytes;
    kernels::transform(op, dtype_, in, out, count, is_long ? store_ : kernels::Store::cached);
  } else {
    kernels::transform_strided(op, dtype_, in, dim.in_stride, out, dim.out_stride, count);
  }
}

void StridedPair::transform(kernels::UnaryOp op, std::uint64_t begin, std::uint64_t end) const {
  const auto row = static_cast<std::uint64_t>(dims_.back().size);
  while (begin < end) {
    // Where element `begin` lies, and how many of its row follow.
    std::uint64_t rest = begin / row;
    const std::uint64_t first = begin % row;
    auto in_offset = static_cast<std::int64_t>(first) * dims_.back().in_stride;
    auto out_offset = static_cast<std::int64_t>(first) * dims_.back().out_stride;
    for (std::size_t i = dims_.size() - 1; i-- > 0;) {
      const auto size = static_cast<std::uint64_t>(dims_[i].size);
      const auto index = static_cast<std::int64_t>(rest % size);
      rest /= size;
      in_offset += index * dims_[i].in_stride;
      out_offset += index * dims_[i].out_stride;
    }
    const std::uint64_t count = std::min(row - first, end - begin);
    transform_run(op, in_offset, out_offset, count);
    begin += count;
  }
}

}  // namespace hogpen
