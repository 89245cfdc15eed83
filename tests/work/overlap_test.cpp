#include "runtime/work/overlap.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

namespace hogpen {
namespace {

std::multiset<const float*> places_of(const at::Tensor& tensor) {
  std::multiset<const float*> places;
  for (std::int64_t flat = 0; flat < tensor.numel(); ++flat) {
    std::int64_t rest = flat;
    std::int64_t offset = 0;
    for (std::int64_t dim = tensor.dim() - 1; dim >= 0; --dim) {
      offset += rest % tensor.size(dim) * tensor.stride(dim);
      rest /= tensor.size(dim);
    }
    places.insert(tensor.const_data_ptr<float>() + offset);
  }
  return places;
}

bool overlap(const at::Tensor& a, const at::Tensor& b) {
  const auto places = places_of(a);
  const auto others = places_of(b);
  return std::any_of(others.begin(), others.end(), [&](const float* place) { return places.contains(place); });
}

bool overlaps_itself(const at::Tensor& tensor) {
  const auto places = places_of(tensor);
  return std::set<const float*>(places.begin(), places.end()).size() != places.size();
}

// All blocks of a small tensor, with steps and transposed, against one another: the answer is the one found by looking
// at each element, but for blocks whose steps lie between one another, of which "may" is true.
TEST(Overlap, TellsBlocksOfAMatrixApart) {
  const at::Tensor matrix = at::zeros({6, 8});
  std::vector<at::Tensor> blocks;
  for (const std::int64_t row : {0, 1, 3}) {
    for (const std::int64_t column : {0, 2, 5}) {
      for (const std::int64_t step : {1, 2}) {
        blocks.push_back(matrix.narrow(0, row, 3).narrow(1, column, 3).slice(1, 0, 3, step));
        blocks.push_back(matrix.narrow(0, row, 3).slice(0, 0, 3, step).narrow(1, column, 3));
      }
    }
  }
  int told_apart = 0;
  for (const at::Tensor& a : blocks) {
    EXPECT_FALSE(may_overlap_itself(a));
    for (const at::Tensor& b : blocks) {
      if (a.sizes() != b.sizes()) continue;
      EXPECT_TRUE(may_overlap(a, b) || !overlap(a, b));
      EXPECT_TRUE(may_overlap(a.t(), b.t()) || !overlap(a.t(), b.t()));
      told_apart += may_overlap(a, b) ? 0 : 1;
      if (a.strides() != b.strides()) continue;
      EXPECT_EQ(may_overlap(a, b), overlap(a, b)) << a.sizes() << a.strides();
    }
  }
  EXPECT_GT(told_apart, 100);
}

TEST(Overlap, ColumnsAndHalvesDoNotMeet) {
  const at::Tensor matrix = at::zeros({6, 200});
  EXPECT_FALSE(may_overlap(matrix.select(1, 0), matrix.select(1, 5)));
  EXPECT_FALSE(may_overlap(matrix.narrow(1, 0, 100), matrix.narrow(1, 100, 100)));
  EXPECT_TRUE(may_overlap(matrix.narrow(1, 0, 150), matrix.narrow(1, 50, 150)));
  EXPECT_TRUE(may_overlap(matrix.narrow(0, 0, 4), matrix.narrow(0, 2, 4)));
  EXPECT_FALSE(may_overlap(matrix.narrow(0, 0, 3), matrix.narrow(0, 3, 3)));
}

TEST(Overlap, OtherStoragesOverTheSameMemoryAreSeen) {
  std::vector<float> memory(10);
  const at::Tensor a = at::from_blob(memory.data(), {8});
  const at::Tensor b = at::from_blob(memory.data() + 1, {8});
  EXPECT_TRUE(may_overlap(a, b));
  EXPECT_FALSE(may_overlap(a.narrow(0, 0, 1), b.narrow(0, 0, 1)));
}

TEST(Overlap, OfATensorWithItself) {
  EXPECT_TRUE(may_overlap_itself(at::zeros({3}).expand({4, 3})));
  EXPECT_TRUE(may_overlap_itself(at::zeros({4}).as_strided({3, 2}, {1, 1})));
  EXPECT_FALSE(may_overlap_itself(at::zeros({1}).expand({1, 1})));
  EXPECT_FALSE(may_overlap_itself(at::zeros({5, 7}).t().slice(1, 0, 5, 2)));
  EXPECT_TRUE(overlaps_itself(at::zeros({4}).as_strided({3, 2}, {1, 1})));
}

TEST(Overlap, TheSameViewHasTheSamePlaces) {
  const at::Tensor line = at::zeros({4});
  EXPECT_TRUE(is_same_view(line.as_strided({4, 1}, {1, 1}), line.as_strided({4, 1}, {1, 4})));
  EXPECT_FALSE(is_same_view(line.narrow(0, 0, 2), line.slice(0, 0, 4, 2)));
}

}  // namespace
}  // namespace hogpen
