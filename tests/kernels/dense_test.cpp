#include "kernels/dense.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/gelu.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/dense_simd.h"
#include "kernels/instruction_set.h"
#include "tests/kernels/random_numbers.h"

namespace hogpen::kernels {
namespace {

class Dense : public testing::Test, protected RandomNumbers {
 protected:
  Dense() : RandomNumbers(7) {}
};

struct Loops {
  const char* name;
  const DenseLoops& loops;
};

std::vector<Loops> usable_loops() {
  std::vector<Loops> usable = {{"DEFAULT", DEFAULT::kDenseLoops}};
  if (instruction_set() >= InstructionSet::avx2) usable.push_back({"AVX2", AVX2::kDenseLoops});
  if (instruction_set() >= InstructionSet::avx512) usable.push_back({"AVX512", AVX512::kDenseLoops});
  return usable;
}

// Around the blocks of every instruction set, and vectors that are not full.
const std::vector<std::size_t> kSizes = {1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 33, 48, 49, 97};

constexpr double kRounding = 1e-6;  // of sums of up to 97 products below 1

TEST_F(Dense, ProductsOfRowsAreThoseOfANaiveLoop) {
  for (const Loops& set : usable_loops()) {
    for (const std::size_t rows : kSizes) {
      for (const std::size_t columns : {1U, 3U, 4U, 7U, 10U, 33U}) {
        for (const std::size_t k : kSizes) {
          const auto x = numbers(rows * k);
          const auto w = numbers(columns * k);
          const auto b = numbers(columns);
          std::vector<float> y(rows * columns + 1, -9.0F);
          set.loops.dot_products(x.data(), w.data(), b.data(), y.data(), rows, columns, k);
          double worst = 0;
          for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t j = 0; j < columns; ++j) {
              double sum = static_cast<double>(b[j]);
              for (std::size_t p = 0; p < k; ++p)
                sum += static_cast<double>(x[i * k + p]) * static_cast<double>(w[j * k + p]);
              worst = std::max(worst, std::abs(sum - static_cast<double>(y[i * columns + j])));
            }
          }
          ASSERT_LT(worst, kRounding * static_cast<double>(k + 1))
              << set.name << " " << rows << " " << columns << " " << k;
          ASSERT_EQ(y.back(), -9.0F);
        }
      }
    }
  }
}

TEST_F(Dense, SumsOfRowsAreThoseOfANaiveLoop) {
  for (const Loops& set : usable_loops()) {
    for (const std::size_t m : {1U, 3U, 8U, 9U, 13U}) {
      for (const std::size_t n : kSizes) {
        for (const std::size_t k : {1U, 2U, 17U}) {
          for (const bool is_transposed : {false, true}) {
            for (const bool adds : {false, true}) {
              const auto a = numbers(m * k);
              const auto b = numbers(k * n);
              std::vector<float> c = numbers(m * n + 1);
              const std::vector<float> before = c;
              const Strided left = {a.data(), is_transposed ? 1 : k, is_transposed ? m : 1};
              set.loops.add_products(left, b.data(), 0.5F, adds, c.data(), m, n, k);
              double worst = 0;
              for (std::size_t i = 0; i < m; ++i) {
                for (std::size_t j = 0; j < n; ++j) {
                  double sum = 0;
                  for (std::size_t p = 0; p < k; ++p) {
                    sum += static_cast<double>(a[i * left.row_stride + p * left.column_stride]) *
                           static_cast<double>(b[p * n + j]);
                  }
                  const double wanted = 0.5 * sum + (adds ? static_cast<double>(before[i * n + j]) : 0.0);
                  worst = std::max(worst, std::abs(wanted - static_cast<double>(c[i * n + j])));
                }
              }
              ASSERT_LT(worst, kRounding * static_cast<double>(k + 1)) << set.name << " " << m << " " << n << " " << k;
              ASSERT_EQ(c.back(), before.back());
            }
          }
        }
      }
    }
  }
}

struct LayerSize {
  std::int64_t rows;
  std::int64_t in;
  std::int64_t out;
  float rounding;  // of its sums
};

class DenseLayer : public testing::TestWithParam<LayerSize>, protected RandomNumbers {
 protected:
  DenseLayer() : RandomNumbers(7) {}
};

TEST_P(DenseLayer, ItsGradientsAreThoseOfAutograd) {
  const auto [rows, in, out, rounding] = GetParam();
  auto x = numbers(rows * in);
  auto w = numbers(out * in);
  auto b = numbers(out);
  auto dy = numbers(rows * out);
  const at::Tensor tx = at::from_blob(x.data(), {rows, in}).clone().requires_grad_();
  const at::Tensor tw = at::from_blob(w.data(), {out, in}).clone().requires_grad_();
  const at::Tensor tb = at::from_blob(b.data(), {out}).clone().requires_grad_();
  const at::Tensor y = tx.matmul(tw.t()) + tb;
  y.backward(at::from_blob(dy.data(), {rows, out}));
  std::vector<float> forward(y.numel());
  std::vector<float> dx(x.size());
  std::vector<float> dw(w.size());
  std::vector<float> db(b.size());
  linear_forward(x.data(), w.data(), b.data(), forward.data(), rows, in, out);
  linear_backward_input(dy.data(), w.data(), dx.data(), rows, in, out);
  linear_backward_weight(dy.data(), x.data(), dw.data(), db.data(), rows, in, out);
  const auto expect_close = [rounding = rounding](std::vector<float>& ours, const at::Tensor& theirs,
                                                  const char* what) {
    const at::Tensor difference = at::from_blob(ours.data(), theirs.sizes()) - theirs.detach();
    EXPECT_LT(difference.abs().max().item<float>(), rounding) << what;
  };
  expect_close(forward, y, "y");
  expect_close(dx, tx.grad(), "dx");
  expect_close(dw, tw.grad(), "dw");
  expect_close(db, tb.grad(), "db");
  linear_update(dy.data(), x.data(), 0.1, w.data(), b.data(), rows, in, out);
  expect_close(w, tw.detach() - tw.grad() * 0.1, "updated w");
  expect_close(b, tb.detach() - tb.grad() * 0.1, "updated b");
}

// The second one's rows are more than a core's cache holds.
INSTANTIATE_TEST_SUITE_P(Sizes, DenseLayer,
                         testing::Values(LayerSize{13, 37, 11, 2e-5F}, LayerSize{200, 784, 5, 2e-4F}));

TEST_F(Dense, ActivationsAndTheirGradientsAreThoseOfAutograd) {
  const std::vector<std::pair<Activation, at::Tensor (*)(const at::Tensor&)>> all = {
      {Activation::relu, [](const at::Tensor& t) { return t.relu(); }},
      {Activation::tanh, [](const at::Tensor& t) { return t.tanh(); }},
      {Activation::sigmoid, [](const at::Tensor& t) { return t.sigmoid(); }},
      {Activation::gelu, [](const at::Tensor& t) { return at::gelu(t); }}};
  for (const auto& [activation, theirs] : all) {
    for (const std::size_t n : {1U, 15U, 16U, 1000U}) {
      auto x = numbers(n);
      for (float& value : x) value *= 6.0F;
      const auto dy = numbers(n);
      const auto size = static_cast<std::int64_t>(n);
      const at::Tensor tx = at::from_blob(x.data(), {size}).clone().requires_grad_();
      const at::Tensor ty = theirs(tx);
      ty.backward(at::from_blob(const_cast<float*>(dy.data()), {size}));
      std::vector<float> y(n);
      activation_forward(activation, x.data(), y.data(), n);
      std::vector<float> dx = dy;
      activation_backward(activation, x.data(), y.data(), dx.data(), n);
      EXPECT_LT((at::from_blob(y.data(), {size}) - ty.detach()).abs().max().item<float>(), 2e-6F) << int(activation);
      EXPECT_LT((at::from_blob(dx.data(), {size}) - tx.grad()).abs().max().item<float>(), 2e-6F) << int(activation);
    }
  }
}

TEST_F(Dense, CrossEntropyAndItsGradientAreThoseOfAutograd) {
  constexpr std::int64_t kRows = 17;
  constexpr std::int64_t kClasses = 10;
  auto logits = numbers(kRows * kClasses);
  for (float& value : logits) value *= 30.0F;
  std::vector<std::int64_t> labels(kRows);
  for (std::int64_t i = 0; i < kRows; ++i) labels[static_cast<std::size_t>(i)] = i * 7 % kClasses;
  const at::Tensor t = at::from_blob(logits.data(), {kRows, kClasses}).clone().requires_grad_();
  const at::Tensor loss = at::cross_entropy_loss(t, at::from_blob(labels.data(), {kRows}, at::kLong));
  loss.backward();
  EXPECT_NEAR(softmax_cross_entropy(logits.data(), labels, kClasses), loss.item<double>(), 1e-5);
  EXPECT_LT((at::from_blob(logits.data(), {kRows, kClasses}) - t.grad()).abs().max().item<float>(), 1e-7F);
}

TEST_F(Dense, ALossThatIsNoNumberIsToldAsSuch) {
  std::vector<float> logits = {1.0F, std::nanf(""), 2.0F};
  const std::vector<std::int64_t> labels = {0};
  EXPECT_TRUE(std::isnan(softmax_cross_entropy(logits.data(), labels, 3)));
}

}  // namespace
}  // namespace hogpen::kernels
