#include "runtime/work/overlap.h"

#include <c10/util/SmallVector.h>

#include <algorithm>
#include <cstdint>

namespace hogpen {
namespace {

struct Dim {
  std::int64_t stride;
  std::int64_t size;
};

/// The dimensions that have more than one element, the nearest in memory first.
c10::SmallVector<Dim, 4> dims_of(const at::Tensor& tensor) {
  c10::SmallVector<Dim, 4> dims;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.size(i) != 1) dims.push_back({tensor.stride(i), tensor.size(i)});
  }
  std::sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.stride < b.stride; });
  return dims;
}

/// From the first element to behind the last, in elements.
std::int64_t extent_of(const at::Tensor& tensor) {
  std::int64_t extent = 1;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) extent += (tensor.size(i) - 1) * tensor.stride(i);
  return extent;
}

// Both are rows of a common pitch: their elements lie at [0, row) and [distance, distance + row) modulo that pitch, for
// one of their dimensions as the first that counts rows.
bool are_apart_in_rows(const c10::SmallVector<Dim, 4>& dims, std::int64_t distance) {
  std::int64_t row = 1;
  for (std::size_t k = 0; k < dims.size(); ++k) {
    const std::int64_t pitch = dims[k].stride;
    const bool all_rows = std::all_of(dims.begin() + static_cast<std::ptrdiff_t>(k), dims.end(),
                                      [&](const Dim& dim) { return pitch > 0 && dim.stride % pitch == 0; });
    if (all_rows) {
      const std::int64_t shift = (distance % pitch + pitch) % pitch;
      if (shift >= row && shift <= pitch - row) return true;
    }
    row += (dims[k].size - 1) * dims[k].stride;
  }
  return false;
}

}  // namespace

bool may_overlap_itself(const at::Tensor& tensor) {
  if (tensor.is_contiguous()) return false;
  std::int64_t extent = 1;
  for (const Dim& dim : dims_of(tensor)) {
    if (dim.stride < extent) return true;
    extent += (dim.size - 1) * dim.stride;
  }
  return false;
}

bool is_same_view(const at::Tensor& a, const at::Tensor& b) {
  if (a.const_data_ptr() != b.const_data_ptr()) return false;
  for (std::int64_t i = 0; i < a.dim(); ++i) {
    if (a.size(i) != 1 && a.stride(i) != b.stride(i)) return false;
  }
  return true;
}

bool may_overlap(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0) return false;
  const auto item_bytes = static_cast<std::int64_t>(a.element_size());
  const auto begin_a = reinterpret_cast<std::intptr_t>(a.const_data_ptr());
  const auto begin_b = reinterpret_cast<std::intptr_t>(b.const_data_ptr());
  if (begin_a + extent_of(a) * item_bytes <= begin_b || begin_b + extent_of(b) * item_bytes <= begin_a) return false;
  const auto dims_a = dims_of(a);
  const auto dims_b = dims_of(b);
  const bool have_same_rows =
      (begin_b - begin_a) % item_bytes == 0 &&
      std::equal(dims_a.begin(), dims_a.end(), dims_b.begin(), dims_b.end(),
                 [](const Dim& x, const Dim& y) { return x.stride == y.stride && x.size == y.size; });
  return !have_same_rows || !are_apart_in_rows(dims_a, (begin_b - begin_a) / item_bytes);
}

}  // namespace hogpen
